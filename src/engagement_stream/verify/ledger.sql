-- What was read, one table a place; digests and offsets only. `open`: not yet compared with the place before it (a row
-- that is read once more, because another stage has come to it now, is not). `key`: digest of the content's id.
-- `unordered`: not yet compared with those before it in order.
create table source (id integer primary key, text integer) strict;
create table raw (
    part integer, off integer, id integer, open integer, key integer, live integer, lsn integer, idx integer,
    text integer, want integer, primary key (part, off)
) strict, without rowid;
create table later (id integer, op text, primary key (id, op)) strict, without rowid;
create table enriched (
    part integer, off integer, id integer, open integer, unordered integer, key integer, history integer,
    bytes integer, own integer, joined integer, content integer, primary key (part, off)
) strict, without rowid;
create table bigquery (
    part integer, off integer, id integer, own integer, joined integer, content integer
) strict;
-- `off`: number of the first arrival; `part` is always 0.
create table http (
    part integer, off integer, id integer, open integer, unordered integer, bytes integer, primary key (part, off)
) strict, without rowid;
-- By the place where the event failed first; one whose replay failed again has a letter for each failure.
create table letter (
    name text primary key, stage text, topic text, part integer, off integer, id integer, bytes integer, open integer,
    replayed integer default 0
) strict, without rowid;
create index letter_place on letter (stage, topic, part, off);
-- Replays: of what, and where they lie in their own topic.
create table replay (
    stage text, here integer, at integer, topic text, part integer, off integer, primary key (stage, here, at)
) strict, without rowid;
create index replay_place on replay (stage, topic, part, off);
-- The records that letters name, as they lie in their topics.
create table named (topic text, part integer, off integer, bytes integer, primary key (topic, part, off))
    strict, without rowid;

-- What this round is about: what is new in a place begins at `low`; what a stage has come past lies in [low, high).
create table news (place text, part integer, low integer, primary key (place, part)) strict, without rowid;
create table passed (stage text, part integer, low integer, high integer, primary key (stage, part))
    strict, without rowid;
create table twice (place text, id integer, primary key (place, id)) strict, without rowid;
-- Ids whose row has to be looked at again in the next round.
create table waiting (id integer primary key) strict;
-- Ids of PostgreSQL that were told to be missing in the raw topic: its newest rows are read more than once.
create table told (id integer primary key) strict;

-- What the rounds before have seen: ids as ranges, and the newest position of each content.
create table seen (place text, first integer, last integer, primary key (place, first)) strict, without rowid;
create table newest (place text, key integer, at integer, idx integer, primary key (place, key))
    strict, without rowid;

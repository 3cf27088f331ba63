-- What was read, one table a place; digests and offsets only. Filled first, indexed then, compared last.
create table source (id integer, text integer) strict;
create table raw (id integer, part integer, off integer, lsn integer, idx integer, text integer, want integer) strict;
create table later (id integer, op text) strict;
create table enriched (
    id integer, part integer, off integer, history integer, bytes integer, own integer, joined integer,
    content integer
) strict;
create table bigquery (id integer, part integer, off integer, own integer, joined integer, content integer) strict;
create table http (id integer, bytes integer) strict;
-- Where the event failed first; an event whose replay failed again has a letter for each failure.
create table letter (
    name text primary key, stage text, topic text, part integer, off integer, id integer, replayed integer default 0
) strict, without rowid;
create index letter_place on letter (stage, topic, part, off);
-- Replays: of what, and where they lie in their own topic.
create table replay (stage text, topic text, part integer, off integer, here integer, at integer) strict;
create index replay_place on replay (stage, topic, part, off);
create table position (place text, part integer, off integer, primary key (place, part)) strict;
create table exempt (id integer primary key) strict;

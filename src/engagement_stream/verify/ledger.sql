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
create table letter (
    stage text, topic text, part integer, off integer, id integer, primary key (stage, topic, part, off)
) strict, without rowid;
create table position (place text, part integer, off integer, primary key (place, part)) strict;
create table exempt (id integer primary key) strict;

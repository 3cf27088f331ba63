create table letter (
    seq integer primary key,            -- order of reading
    name text not null unique,          -- stage/topic/partition/offset
    stage text not null, topic text not null, partition integer not null, offset integer not null,
    reason text not null,
    at_ms integer not null,             -- when the brokers took it
    part integer not null, off integer not null,    -- where it lies in the queue
    size integer not null,              -- bytes of the record
    again integer not null, origin text not null,
    state text not null default 'open', handled_ms integer, by text not null default '', operation text not null default ''
) strict;
create index letter_time on letter (at_ms, name);

"""What the receiver remembers, in SQLite: each event once with its first value, and every request that came.

Durable before the answer: one transaction per batch, write-ahead log, synced. A batch that waits for the lock while
another is synced loses nothing; nothing is kept in memory.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

_SCHEMA = """
create table if not exists event (
    seq integer primary key,            -- order of first arrival
    id text not null unique,
    subject text,
    source text not null,
    data blob not null,                 -- of the first arrival
    received integer not null default 1,
    differing integer not null default 0 -- later arrivals whose data was another
) strict;
create table if not exists request (
    key text primary key,
    sha256 blob not null,               -- of the first body under this key
    events integer not null,
    received integer not null default 1,
    differing integer not null default 0
) strict, without rowid;
create table if not exists total (
    one integer primary key check (one = 1),
    events integer not null, received integer not null, requests integer not null
) strict;
insert or ignore into total values (1, 0, 0, 0);
"""
# A backfilled event's position is 0, 0: it has none in the source's history, and its data may differ.
_PUT = """
insert into event (id, subject, source, data) values (?, ?, ?, ?)
on conflict (id) do update set received = received + 1, differing = differing + case
    when data = excluded.data then 0
    when json_extract(cast(data as text), '$.position[0]') = 0 then 0
    when json_extract(cast(excluded.data as text), '$.position[0]') = 0 then 0
    else 1 end
"""
_PUT_REQUEST = """
insert into request (key, sha256, events) values (?, ?, ?)
on conflict (key) do update set received = received + 1, differing = differing + (sha256 <> excluded.sha256)
"""
# Positions are read out of the data only when somebody asks: at each arrival that was a tenth of the whole cost.
_DISORDER = """
select count(*) from (
    select (lsn, idx) < (lag(lsn) over w, lag(idx) over w) as back from (
        select seq, subject, json_extract(position, '$[0]') as lsn, json_extract(position, '$[1]') as idx from (
            select seq, subject, json_extract(cast(data as text), '$.position') as position from event
        )
    ) where subject is not null and lsn is not null and idx >= 2 window w as (partition by subject order by seq)
) where back
"""
_READ_CACHE_KIB = 8_192


class CloudEvent(msgspec.Struct, frozen=True, gc=False):
    """The part of a CloudEvent that is looked at; `data` stays the bytes it came in."""

    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw
    subject: str | None = None


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One event as it is told to others: `data` of the first arrival, `differing` of the later ones."""

    seq: int
    id: str
    received: int
    differing: int
    data: msgspec.Raw


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts: `events` are distinct, `received` is with repeats."""

    events: int
    received: int
    requests: int
    differing_events: int = 0
    differing_requests: int = 0
    disorder: int = 0
    """Events that came after a later one of the same content; only counted on demand."""


decode_batch = msgspec.json.Decoder(list[CloudEvent]).decode
"""bytes -> events; raises msgspec.MsgspecError."""


class Store:
    """One SQLite file; thread-safe, writers one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._writer = self._connect()
        self._writer.executescript(_SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute(f"pragma cache_size = -{_READ_CACHE_KIB}")
        return connection

    def put(self, key: str, body: bytes, events: Sequence[CloudEvent]) -> int:
        """Remember a request; durable on return. Returns how many of its events are new."""
        # sqlite3 looks for an adapter of each value that is no str, int or bytearray: of bytes, too.
        rows = [(event.id, event.subject, event.source, bytearray(event.data)) for event in events]
        digest = hashlib.sha256(body).digest()
        with self._lock:
            write = self._writer
            write.execute("begin immediate")
            try:
                before = write.execute("select ifnull(max(seq), 0) from event").fetchone()[0]
                write.executemany(_PUT, rows)
                new = int(write.execute("select ifnull(max(seq), 0) from event").fetchone()[0]) - int(before)
                write.execute(_PUT_REQUEST, (key, digest, len(rows)))
                write.execute(
                    "update total set events = events + ?, received = received + ?, requests = requests + 1",
                    (new, len(rows)),
                )
                write.execute("commit")
            except BaseException:
                write.execute("rollback")
                raise
        return new

    def stats(self, *, thorough: bool) -> Stats:
        """The counts; `thorough` looks through everything."""
        reader = self._connect()
        try:
            events, received, requests = reader.execute("select events, received, requests from total").fetchone()
            if not thorough:
                return Stats(events=events, received=received, requests=requests)
            return Stats(
                events=events,
                received=received,
                requests=requests,
                differing_events=reader.execute("select count(*) from event where differing > 0").fetchone()[0],
                differing_requests=reader.execute("select count(*) from request where differing > 0").fetchone()[0],
                disorder=reader.execute(_DISORDER).fetchone()[0],
            )
        finally:
            reader.close()

    def events(self, after: int, limit: int) -> list[StoredEvent]:
        """Up to `limit` events in the order of first arrival, those behind `after` (a seq)."""
        reader = self._connect()
        try:
            rows = reader.execute(
                "select seq, id, received, differing, data from event where seq > ? order by seq limit ?",
                (after, limit),
            )
            return [StoredEvent(seq, id_, n, d, msgspec.Raw(data)) for seq, id_, n, d, data in rows]
        finally:
            reader.close()

    def requests(self) -> list[tuple[str, int, int]]:
        """Key, times received, times with another body; in the order of the key."""
        reader = self._connect()
        try:
            return list(reader.execute("select key, received, differing from request order by key"))
        finally:
            reader.close()

"""PostgreSQL: every event in one snapshot, by its text forms; and single rows, to look again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

import psycopg

from engagement_stream.capture.connect import SESSION_SETTINGS
from engagement_stream.capture.values import instant
from engagement_stream.model.change import EventRow
from engagement_stream.settings import PostgresSettings
from engagement_stream.verify.canon import text_digest
from engagement_stream.verify.ledger import Ledger

Tell = Callable[[int], None]
_CHUNK = 10_000
_CONNECT_TIMEOUT_S = 10
_COLUMNS: LiteralString = (
    "id, content_id::text, user_id::text, event_type, event_ts::text, duration_ms, device, raw_payload::text"
)
_COPY: LiteralString = f"copy (select {_COLUMNS} from engagement_events where event_ts >= %s and id > %s) to stdout"  # noqa: S608 - a constant of ours
_MOMENT: LiteralString = """
select pg_current_wal_insert_lsn() - '0/0'::pg_lsn, pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint
  from pg_current_snapshot() s
"""
_BY_ID: LiteralString = f"select {_COLUMNS} from engagement_events where id = any(%s)"  # noqa: S608 - the same
_COMMITTED: LiteralString = """
select id, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint
  from engagement_events where id = any(%s)
"""


@contextmanager
def _session(postgres: PostgresSettings) -> Iterator[psycopg.Connection]:
    options = " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items())
    url = postgres.database_url.get_secret_value()
    with psycopg.connect(url, options=options, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
        yield connection


@dataclass(frozen=True, slots=True)
class Ids:
    """Where the next round has to begin: a smaller id can only become visible by hand.

    A transaction takes its ids before it commits, so the highest id that was seen is believed once every transaction
    that ran at that moment has ended.
    """

    believed: int = -(1 << 63)
    seen: int = -(1 << 63)
    seen_xmax: int = 0

    def after(self, highest: int | None, xmin: int, xmax: int) -> "Ids":
        """A snapshot found this highest id beyond `believed`, None if there was nothing."""
        believed = max(self.believed, self.seen) if xmin >= self.seen_xmax else self.believed
        if believed < self.seen:
            return self  # an old transaction still runs: wait for it before the next mark is set
        return Ids(believed, max(self.seen, believed if highest is None else highest), xmax)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`lsn`: everything visible in it was committed before."""

    lsn: int
    ids: Ids


def read_source(postgres: PostgresSettings, since: str | None, ids: Ids, ledger: Ledger, tell: Tell) -> Snapshot:
    """Digest every event behind `ids.believed`."""
    with _session(postgres) as connection:
        connection.execute("set transaction isolation level repeatable read read only")
        # After the snapshot is taken, which this very statement does; a commit is in the WAL before it is visible.
        row = connection.execute(_MOMENT).fetchone()
        assert row is not None
        lsn, xmin, xmax = row
        highest: int | None = None
        chunk: list[tuple[int, int]] = []
        with connection.cursor() as cursor, cursor.copy(_COPY, (since or "-infinity", ids.believed)) as copy:
            for values in copy.rows():
                event = _event(values)
                highest = event.id if highest is None else max(highest, event.id)
                chunk.append((event.id, text_digest(event)))
                if len(chunk) >= _CHUNK:
                    ledger.put("source", chunk)
                    tell(len(chunk))
                    chunk.clear()
        ledger.put("source", chunk)
        tell(len(chunk))
        return Snapshot(int(lsn), ids.after(highest, xmin, xmax))


def rows_now(postgres: PostgresSettings, ids: Sequence[int]) -> dict[int, EventRow]:
    """Those of the rows that exist now."""
    found: dict[int, EventRow] = {}
    with _session(postgres) as connection:
        for first in range(0, len(ids), _CHUNK):
            for values in connection.execute(_BY_ID, (list(ids[first : first + _CHUNK]),)):
                event = _event(values)
                found[event.id] = event
    return found


def commit_times(postgres: PostgresSettings, ids: Sequence[int]) -> Mapping[int, int]:
    """When these rows' latest versions were committed (microseconds), where PostgreSQL keeps that."""
    found: dict[int, int] = {}
    with _session(postgres) as connection:
        try:
            for first in range(0, len(ids), _CHUNK):
                chunk = list(ids[first : first + _CHUNK])
                found |= {i: us for i, us in connection.execute(_COMMITTED, (chunk,)) if us is not None}
        except psycopg.errors.ObjectNotInPrerequisiteState:  # track_commit_timestamp is off
            return {}
    return found


def _event(values: Sequence[object]) -> EventRow:
    """As capture writes it; COPY gives every value as text."""
    number, content_id, user_id, event_type, event_ts, duration_ms, device, raw_payload = values
    return EventRow(
        int(str(number)),
        instant(str(event_ts).encode())[1:-1].decode(),
        content_id,  # type: ignore[arg-type]  # text or None, as cast in the query
        user_id,  # type: ignore[arg-type]  # the same
        event_type,  # type: ignore[arg-type]  # the same
        None if duration_ms is None else int(str(duration_ms)),
        device,  # type: ignore[arg-type]  # the same
        raw_payload,  # type: ignore[arg-type]  # the same
    )

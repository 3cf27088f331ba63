"""PostgreSQL's part: one snapshot with its exact place in the log, and every figure as SQL tells it in there.

The place comes from a temporary slot: it sees exactly the transactions whose commit record lies before its consistent
point, and the stream, or any other slot's, tells exactly the others.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from engagement_stream.capture.connect import Client, translated
from engagement_stream.capture.queries import queries_of
from engagement_stream.capture.session import Identity, ReplicationSession
from engagement_stream.capture.source import Source
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal, Retry
from engagement_stream.model.change import WATERMARK_PREFIX
from engagement_stream.settings import PostgresSettings, RedisSettings

_SQL = {name: text.decode() for name, text in queries_of("engagement_stream.rebuild").items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SMALLEST_ID, _LARGEST_ID = -(1 << 63), (1 << 63) - 1

Row = tuple[str | None, ...]
"""As COPY gives it: text or None."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The snapshot. `lsn`: it holds what was committed before, and nothing else."""

    lsn: int
    at: datetime
    estimated_rows: int
    commit_times: bool
    """Whether the server keeps them (track_commit_timestamp)."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the table: ids [first, last], and how many rows it has."""

    first: int
    last: int
    rows: int


class RebuildSource:
    """The session that holds the lock and the snapshot. Raises Retry when the server does not answer, Fatal."""

    def __init__(self, postgres: PostgresSettings) -> None:
        # A name of its own: capture ends every session that carries the name of its slot.
        slot = f"engagement_rebuild_{secrets.token_hex(4)}"
        self._client = Client(postgres.model_copy(update={"slot": slot}))
        self._connection = self._client.connect()
        self._events = self._undated = ""
        self.id_at = 0
        """Which column of engagement_events the id is."""
        self._parameters: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def lock(self, redis: RedisSettings) -> None:
        """Keep other rebuilds of this Redis out until the session ends."""
        name = f"engagement rebuild redis {redis.url.get_secret_value()} {redis.prefix}"
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        if not self._one("lock", key=key)[0]:
            raise Fatal(
                "another rebuild of this Redis is under way",
                remedy="wait until it is over, or end it (its session in pg_stat_activity is named after "
                "engagement_rebuild)",
            )

    def take_snapshot(self, while_waiting: Callable[[str], None]) -> tuple[Taken, Identity]:
        """Make the slot, see what it sees, and let it go. `while_waiting` hears what it waits for, and may raise."""
        commit_times = bool(self._one("server")[0])
        source = Source(self._client)
        session = None
        try:
            tables = source.describe()
            self.id_at = [column.name for column in tables.events.columns].index("id")
            filenode, _ = source.filenodes()
            session = ReplicationSession(self._client)
            identity, pid = session.identify(), session.backend_pid
            crash_point("rebuild.before_slot")
            slot = session.create_slot(
                failover=False, temporary=True, while_waiting=lambda: while_waiting(source.blockers(pid))
            )
            crash_point("rebuild.after_slot")
            self._begin(slot.snapshot_name)
            taken_at, filenode_now = self._one("taken")
        finally:
            source.close()
            if session is not None:
                session.close()
        if filenode != filenode_now:
            # TRUNCATE and rewrites do not respect snapshots: an older one sees an empty table afterwards.
            raise Retry("engagement_events was rewritten or truncated meanwhile; run it again")
        taken = Taken(slot.consistent_point, taken_at, tables.estimated_events, commit_times)
        self._set_up(taken, ())
        return taken, identity

    def _begin(self, snapshot: str) -> None:
        with translated():
            self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'".encode())
            self._connection.execute("LOCK TABLE content, engagement_events IN ACCESS SHARE MODE")
            # Compiling the plan of a piece costs more than it saves; and what is sorted fits into memory.
            self._connection.execute("SET LOCAL jit = off; SET LOCAL work_mem = '64MB'")

    def emit_mark(self, mark: str) -> None:
        """A mark that passes through every partition behind everything the snapshot has. By a session of its own."""
        crash_point("rebuild.before_mark")
        with translated(), self._client.connect() as connection:
            connection.execute(_SQL["emit_mark"].encode(), {"prefix": WATERMARK_PREFIX, "mark": mark})
        crash_point("rebuild.after_mark")

    def leave_out(self, taken: Taken, event_ids: Sequence[int]) -> int:
        """Pass over these events from now on; how many of them there are."""
        self._set_up(taken, event_ids)
        return int(self._one("left_out_rows", left_out=list(event_ids))[0]) if event_ids else 0

    def _set_up(self, taken: Taken, left_out: Sequence[int]) -> None:
        self._parameters = {"taken": taken.at, "left_out": list(left_out)}
        condition = _SQL["left_out"] if left_out else ""
        # PostgreSQL looks the commit up for each row, also where nobody reads it.
        self._undated = _SQL["events"].format(committed="NULL::timestamptz", left_out=condition)
        dated = _SQL["events"].format(committed="pg_xact_commit_timestamp(xmin)", left_out=condition)
        self._events = dated if taken.commit_times else self._undated

    def contents(self) -> Iterator[Row]:
        """(id, slug, title, content_type, length_seconds) as of the snapshot."""
        return self._copy("contents")

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """The whole table, in pieces of that many rows, by id."""
        first = _SMALLEST_ID
        while True:
            last, count = self._one("chunk", first=first, rows=rows)
            if not count:
                return
            yield Chunk(first, int(last), int(count))
            if last == _LARGEST_ID:
                return
            first = int(last) + 1

    def counters(self, chunk: Chunk) -> Iterator[Row]:
        """(content, events, plays, pauses, finishes, clicks, ms, timed, future, without commit time, clock_us)."""
        return self._copy("counters", first=chunk.first, last=chunk.last)

    def without_content(self, chunk: Chunk) -> Iterator[Row]:
        """(event id, type, duration_ms, 1 if from the future, 1 if without commit time, clock_us)."""
        return self._copy("without_content", first=chunk.first, last=chunk.last)

    def users(self, chunk: Chunk) -> Iterator[Row]:
        """(content, its users, one a line)."""
        return self._copy("users", first=chunk.first, last=chunk.last)

    def recent(self, chunk: Chunk, keep: int) -> Iterator[Row]:
        """(id, content, user, type, event_ts in us, duration_ms, device, clamped event_ts in us), no order."""
        return self._copy("recent", first=chunk.first, last=chunk.last, keep=keep)

    def window(self, since_s: int) -> Iterator[Row]:
        """(content, start of the bucket, events, ms) from that moment on."""
        return self._copy("window", since=_EPOCH + timedelta(seconds=since_s))

    def totals(self) -> tuple[int, ...]:
        """(events, plays, pauses, finishes, clicks, untyped, ms, timed) of everything, in one statement."""
        (row,) = self._copy("totals")
        return tuple(int(value or 0) for value in row)

    def _copy(self, name: str, **parameters: object) -> Iterator[Row]:
        events = self._undated if name in {"users", "totals"} else self._events
        query = f"COPY ({_SQL[name].format(events=events)}) TO STDOUT"
        with (
            translated(),
            self._connection.cursor() as cursor,
            cursor.copy(query.encode(), self._parameters | parameters) as copy,
        ):
            yield from copy.rows()

    def _one(self, name: str, **parameters: object) -> tuple[Any, ...]:
        with translated():
            row = self._connection.execute(_SQL[name].encode(), parameters or None).fetchone()
        if row is None:
            raise Retry(f"PostgreSQL: no answer to {name}")
        return row

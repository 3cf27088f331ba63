"""The first copy's reading side: the rows that the slot's snapshot has, in the order of their keys.

Two ways to see the same rows. The session that imported the exported snapshot sees exactly them, as long as it
lives. After a crash a new REPEATABLE READ session reads the table as it is then, filtered by the recorded snapshot:
what was inserted later is left out, what was changed or deleted since is not found. The live stream has told the
latter by their `before`, provided that it has come as far as what the new session sees: `ready_at` is that LSN.
"""

import select
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from psycopg import pq, sql

from engagement_stream.capture.connect import Client, result_error, translated
from engagement_stream.capture.copy_text import copy_row
from engagement_stream.capture.pgoutput import Relation, Values
from engagement_stream.capture.progress import Copy
from engagement_stream.capture.queries import QUERIES
from engagement_stream.capture.snapshot import Snapshot
from engagement_stream.errors import Fatal, Retry
from engagement_stream.model.position import parse_lsn

_LOCK_TIMEOUT_MS = 5_000
Rows = list[tuple[Values, bytes]]
"""Values, and the line they came in."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What the session that imported the snapshot saw at once."""

    snapshot: str
    taken_us: int
    max_id: int | None
    filenodes: tuple[int, int]


class CopySession:
    """One REPEATABLE READ transaction; holds ACCESS SHARE, so that nobody rewrites or truncates the tables under it."""

    def __init__(self, client: Client) -> None:
        self._connection = client.connect()
        self._pg = self._connection.pgconn
        self._poll = select.poll()
        self._poll.register(self._pg.socket, select.POLLIN)
        self._reading = False
        self._condition = "true"
        self.ready_at = 0
        self.consistent_point = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def backend_pid(self) -> int:
        return self._pg.backend_pid

    @property
    def socket(self) -> int:
        return self._pg.socket

    @property
    def alive(self) -> bool:
        return self._pg.status == pq.ConnStatus.OK and self._pg.transaction_status in {
            pq.TransactionStatus.INTRANS,
            pq.TransactionStatus.ACTIVE,
        }

    def close(self) -> None:
        self._connection.close()

    def import_snapshot(self, name: str, consistent_point: int) -> Imported:
        """Must come before any further command on the session that made the slot."""
        self._begin(name)
        self.consistent_point = consistent_point
        with translated():
            snapshot, taken_us, max_id = self._row("snapshot")
            events, content = self._row("filenodes")
        return Imported(snapshot, taken_us, max_id, (events, content))

    def filter_by(self, copy: Copy) -> None:
        """Go on with a copy whose session is gone. Raises Fatal when its rows cannot be told apart any more."""
        self._begin(None)
        self.consistent_point = copy.consistent_point
        with translated():
            next_xid, wal_lsn = self._row("now_visible")
            filenode, _content = self._row("filenodes")
        if filenode != copy.filenode:
            raise Fatal(
                "engagement_events was truncated or rewritten (TRUNCATE, VACUUM FULL, ALTER TABLE) while the first "
                "copy was interrupted: which of its rows were there before cannot be told any more",
                remedy=_REMEDY,
            )
        try:
            self._condition = Snapshot.parse(copy.snapshot).condition(next_xid)
        except ValueError as error:
            raise Fatal(f"the first copy was interrupted and cannot go on: {error}", remedy=_REMEDY) from error
        self.ready_at = parse_lsn(wal_lsn)

    def start_events(self, relation: Relation, last_id: int | None, max_id: int) -> None:
        """Ask for the events behind `last_id`; then `read` them."""
        after = "" if last_id is None else f"id > {last_id} AND "
        self._start(relation, f"{after}id <= {max_id} AND {self._condition}")

    def start_content(self, relation: Relation) -> None:
        self._start(relation, "true")

    def _start(self, relation: Relation, where: str) -> None:
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in relation.columns)
        table = sql.Identifier(relation.schema, relation.name)
        copy = sql.SQL("COPY (SELECT {} FROM {} WHERE ").format(names, table).as_bytes()
        with translated():
            self.stop_reading()
            self._execute(b"SAVEPOINT reading")
            # By the primary key's index, so that the first rows come at once and nothing is sorted on disk.
            self._execute(b"SET LOCAL enable_seqscan = off")
            self._execute(b"SET LOCAL enable_bitmapscan = off")
            self._execute(b"SET LOCAL enable_sort = off")
            result = self._pg.exec_(copy + where.encode() + b" ORDER BY id) TO STDOUT")
            if result.status != pq.ExecStatus.COPY_OUT:
                raise result_error(result)
        self._reading = True

    def read(self, max_rows: int, max_bytes: int) -> tuple[Rows, bool]:
        """(rows that have arrived, whether they were the last); never waits."""
        rows: Rows = []
        size_bytes = 0
        with translated():
            while len(rows) < max_rows and size_bytes < max_bytes:
                size, data = self._pg.get_copy_data(1)
                if size > 0:
                    line = bytes(data)
                    rows.append((copy_row(line), line))
                    size_bytes += size
                elif size < 0:
                    result = self._pg.get_result()
                    if result is not None and result.status != pq.ExecStatus.COMMAND_OK:
                        raise result_error(result)
                    while self._pg.get_result() is not None:
                        pass
                    self._reading = False
                    return rows, True
                elif self._poll.poll(0):
                    self._pg.consume_input()
                else:
                    break
        return rows, False

    def wait(self, timeout_ms: int) -> None:
        self._poll.poll(timeout_ms)

    def stop_reading(self) -> None:
        """Give up an unfinished COPY; the transaction and its snapshot live on."""
        if not self._reading:
            return
        self._reading = False
        with translated():
            self._pg.get_cancel().cancel()
            while self._pg.get_copy_data(0)[0] > 0:
                pass
            while self._pg.get_result() is not None:
                pass
            self._execute(b"ROLLBACK TO SAVEPOINT reading")

    def _begin(self, snapshot: str | None) -> None:
        with translated():
            self._execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if snapshot is not None:
                self._execute(b"SET TRANSACTION SNAPSHOT '%b'" % snapshot.encode())
            if self._pg.server_version >= 170_000:
                self._execute(b"SET LOCAL transaction_timeout = 0")
            self._execute(b"SET LOCAL lock_timeout = %d" % _LOCK_TIMEOUT_MS)
            self._execute(b"LOCK TABLE content, engagement_events IN ACCESS SHARE MODE")

    def _execute(self, command: bytes) -> None:
        result = self._pg.exec_(command)
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise result_error(result)

    def _row(self, query: str) -> tuple:  # type: ignore[type-arg]  # whatever the query says
        row = self._connection.execute(QUERIES[query]).fetchone()
        if row is None:
            raise Retry(f"PostgreSQL: no answer to {query}")
        return row


_REMEDY = (
    "drop the slot (SELECT pg_drop_replication_slot(...)), set KAFKA_PREFIX, KAFKA_TOPIC_ENGAGEMENT_EVENTS and "
    "CAPTURE_SLOT to new names and start again: a new first copy is made"
)

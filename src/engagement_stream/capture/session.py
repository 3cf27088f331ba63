"""The replication session: the commands of the walsender and the frames of its stream, on libpq itself.

Not psycopg2's replication cursor: it acknowledges by itself on keep-alives (tried), which moves the slot past what
is ours. Every status byte is sent from here, and only with a position that is durable in Kafka.
"""

import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

from engagement_stream.capture.connect import Client, result_error, translated
from engagement_stream.errors import Retry
from engagement_stream.model.position import format_lsn, parse_lsn

_XLOG_DATA = ord("w")
_XLOG_HEADER_BYTES = 25
_KEEPALIVE = ord("k")
_KEEPALIVE_FRAME = Struct("!xQqB").unpack
_STATUS = Struct("!cQQQqB").pack
_POSTGRES_EPOCH_US = 946_684_800_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """IDENTIFY_SYSTEM: which cluster this is, and where its flushed WAL ends."""

    system_identifier: str
    timeline: int
    wal_end: int
    database: str


@dataclass(frozen=True, slots=True)
class CreatedSlot:
    """`snapshot_name` can be imported until the next command on the session that made the slot."""

    consistent_point: int
    snapshot_name: str


class KeepAlive(NamedTuple):
    """`lsn`: everything up to there was sent; `asked`: the server wants an answer now."""

    lsn: int
    asked: bool


class Piece(NamedTuple):
    """Of the stream: messages of pgoutput, then a keep-alive if one came; `more` may have arrived behind it."""

    messages: list[bytes]
    keepalive: KeepAlive | None
    more: bool


def _keepalive(frame: memoryview) -> KeepAlive:
    lsn, _sent_at, reply = _KEEPALIVE_FRAME(frame)
    return KeepAlive(lsn, reply == 1)


class ReplicationSession:
    """One walsender. Every failure raises Retry; the session is of no further use then."""

    def __init__(self, client: Client) -> None:
        self._slot = client.postgres.slot
        self._publication = client.postgres.publication
        self._connection = client.connect(replication=True)
        self._pg = self._connection.pgconn
        self._poll = select.poll()
        self._poll.register(self._pg.socket, select.POLLIN)

    @property
    def socket(self) -> int:
        return self._pg.socket

    @property
    def backend_pid(self) -> int:
        return self._pg.backend_pid

    def close(self) -> None:
        self._connection.close()

    def identify(self) -> Identity:
        row = self._row(b"IDENTIFY_SYSTEM")
        return Identity(row[0], int(row[1]), parse_lsn(row[2]), row[3])

    def timeline_history(self, timeline: int) -> str:
        """The history file: a line for each former timeline with the LSN at which it was left."""
        if timeline == 1:
            return ""  # the first timeline has no history, and no file
        return self._row(b"TIMELINE_HISTORY %d" % timeline)[1]

    def create_slot(self, *, failover: bool, while_waiting: Callable[[], None], temporary: bool = False) -> CreatedSlot:
        """Make the slot and export its snapshot; waits for every transaction that is running or prepared.

        A `temporary` one ends with the session.

        `while_waiting` is called about once a second and may raise to give up: closing the session then takes the
        unfinished slot with it.
        """
        options = "(SNAPSHOT 'export', FAILOVER true)" if failover else "EXPORT_SNAPSHOT"
        kind = "TEMPORARY LOGICAL" if temporary else "LOGICAL"
        command = f'CREATE_REPLICATION_SLOT "{self._slot}" {kind} pgoutput {options}'
        with translated():
            self._pg.send_query(command.encode())
            while self._pg.flush():
                pass
            while self._pg.is_busy():
                if not self._poll.poll(1000):
                    while_waiting()
                    continue
                self._pg.consume_input()
            result = self._pg.get_result()
            while self._pg.get_result() is not None:
                pass
        if result is None:
            raise Retry("PostgreSQL ended the session while the slot was being made")
        _slot, consistent_point, snapshot, _plugin = _only_row(result)
        return CreatedSlot(parse_lsn(consistent_point), snapshot)

    def start(self, lsn: int) -> None:
        """Stream from `lsn` on: every transaction whose commit record begins there or later."""
        command = (
            f'START_REPLICATION SLOT "{self._slot}" LOGICAL {format_lsn(lsn)} '
            f"(proto_version '1', publication_names '{self._publication}', messages 'true')"
        )
        with translated():
            result = self._pg.exec_(command.encode())
        if result.status != ExecStatus.COPY_BOTH:
            raise result_error(result)

    def read(self, max_messages: int, max_bytes: int) -> Piece:
        """What has arrived, up to the next keep-alive and to about so much. Never waits."""
        pg, ready = self._pg, self._poll.poll
        get = pg.get_copy_data
        messages: list[bytes] = []
        with translated():
            while True:
                size, frame = get(1)
                if size > 0:
                    if frame[0] == _XLOG_DATA:
                        messages.append(frame[_XLOG_HEADER_BYTES:].tobytes())
                        max_bytes -= size
                        if len(messages) >= max_messages or max_bytes <= 0:
                            return Piece(messages, None, more=True)
                    elif frame[0] == _KEEPALIVE:
                        return Piece(messages, _keepalive(frame), more=True)
                elif size < 0:
                    self._ended()
                elif ready(0):
                    pg.consume_input()
                    if pg.status == ConnStatus.BAD:
                        raise Retry(f"PostgreSQL: {pg.get_error_message().strip()}")
                else:
                    return Piece(messages, None, more=False)

    def send_status(self, flush_lsn: int, *, want_reply: bool = False) -> None:
        """Acknowledge everything up to `flush_lsn`: the caller has it committed in Kafka."""
        now = time.time_ns() // 1000 - _POSTGRES_EPOCH_US
        with translated():
            self._pg.put_copy_data(_STATUS(b"r", flush_lsn, flush_lsn, flush_lsn, now, want_reply))
            self._pg.flush()

    def _ended(self) -> None:
        result = self._pg.get_result()
        if result is not None and result.status == ExecStatus.FATAL_ERROR:
            raise result_error(result)
        raise Retry("PostgreSQL ended the stream")

    def _row(self, command: bytes) -> list[str]:
        with translated():
            return _only_row(self._pg.exec_(command))


def _only_row(result: PGresult) -> list[str]:
    if result.status != ExecStatus.TUPLES_OK or result.ntuples < 1:
        raise result_error(result)
    return [(result.get_value(0, column) or b"").decode() for column in range(result.nfields)]

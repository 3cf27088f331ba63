"""A change of a row to one record, whatever the row holds: as it is, without its payload, or as a dead letter."""

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.capture.envelope import envelope, source_commit, source_end, tail
from engagement_stream.capture.outgoing import MAX_VALUE_BYTES, Outgoing
from engagement_stream.capture.payload import without_payload
from engagement_stream.capture.pgoutput import Values
from engagement_stream.capture.progress import Copy
from engagement_stream.capture.tables import Table
from engagement_stream.capture.values import NULL
from engagement_stream.model.position import SNAPSHOT_CONTENT_INDEX, SNAPSHOT_EVENT_INDEX, Position
from engagement_stream.settings import KafkaSettings

OVERSIZED = "oversized"
NOT_UTF8 = "not UTF-8"
VALUE_MISSING = "value missing"
_MEANING = {
    OVERSIZED: "the row does not fit into a record, even without its raw_payload",
    NOT_UTF8: "a text of the row is not valid UTF-8; the database should have the encoding UTF8",
    VALUE_MISSING: "the change does not carry the whole row: ALTER TABLE ... REPLICA IDENTITY FULL on both tables",
}


class Records:
    """`message` is always what the server sent for the row: a dead letter carries it."""

    def __init__(self, outgoing: Outgoing, kafka: KafkaSettings) -> None:
        self._out = outgoing
        self._events_topic, self._content_topic = kafka.events_topic, kafka.content_topic

    def put(
        self,
        table: Table,
        old: Values | None,
        new: Values | None,
        source: bytes,
        end: bytes,
        position: Position,
        message: bytes,
    ) -> None:
        """`source` ends with the record's catalog, `end` tells op and time; one of `old` and `new` is there."""
        key = self._key(table, new if new is not None else old)
        for shrunk in (False, True):
            try:
                value = envelope(_row(table, old, shrunk), _row(table, new, shrunk), source, end)
            except UnicodeDecodeError:
                return self.put_letter(table, key, position, message, NOT_UTF8)
            except (TypeError, AttributeError):  # UNCHANGED is no bytes
                return self.put_letter(table, key, position, message, VALUE_MISSING)
            if len(value) <= MAX_VALUE_BYTES:
                self._out.oversized += shrunk
                if table.is_events:
                    return self._out.add(self._events_topic, value, key)
                return self._out.add(self._content_topic, value, key, 0)
        return self.put_letter(table, key, position, message, OVERSIZED)

    def put_letter(self, table: Table, key: bytes, position: Position, message: bytes, reason: str) -> None:
        """Named by the change's position: told twice it is still one letter."""
        commit_lsn, index = position
        self._out.add_letter(
            DeadLetter("capture", table.relation.name, index, commit_lsn, key[:1000], message, reason, _MEANING[reason])
        )

    def image_rest(self, table: Table, copy: Copy) -> bytes:
        """What is the same for every event of the first copy: source and end of the envelope."""
        source = self._copied(table, copy.consistent_point, copy.taken_us, SNAPSHOT_EVENT_INDEX)
        return source + source_end(copy.catalog) + tail(b"r", copy.taken_us // 1000)

    def put_event_image(self, table: Table, values: Values, event_id: int, rest: bytes, message: bytes) -> None:
        """An event as the snapshot has it (op r). Its letter would be named by its id: all stand at one position."""
        # A copy of millions goes this way: what `put` does for the usual row, without its calls.
        try:
            value = b'{"before":null,"after":%b%b' % (table.encode(values), rest)  # type: ignore[arg-type]  # every value is there
        except (UnicodeDecodeError, TypeError, AttributeError):  # as in `put`, which then tells why
            value = b""
        if 0 < len(value) <= MAX_VALUE_BYTES:
            key = values[table.content_id_at] or values[table.id_at]
            return self._out.add(self._events_topic, value, key)  # type: ignore[arg-type]  # as above
        return self.put(table, None, values, rest, b"", (event_id, SNAPSHOT_EVENT_INDEX), message)

    def put_content_image(
        self, table: Table, values: Values, number: int, point: int, taken_us: int, message: bytes
    ) -> None:
        """A content as the snapshot has it; `number` in the order of the copy."""
        source = self._copied(table, point, taken_us, SNAPSHOT_CONTENT_INDEX) + source_end((0, 0))
        self.put(table, None, values, source, tail(b"r", taken_us // 1000), (number, SNAPSHOT_CONTENT_INDEX), message)

    @staticmethod
    def _copied(table: Table, point: int, taken_us: int, index: int) -> bytes:
        return table.source + source_commit(taken_us, point, None, snapshot=True) + b"%d" % index

    @staticmethod
    def _key(table: Table, values: Values | None) -> bytes:
        assert values is not None
        key = values[table.content_id_at]
        if isinstance(key, bytes):
            return key
        key = values[table.id_at]
        return key if isinstance(key, bytes) else b""


def _row(table: Table, values: Values | None, shrunk: bool) -> bytes:
    if values is None:
        return NULL
    return table.encode(without_payload(values, table.payload_at) if shrunk else values)  # type: ignore[arg-type]  # UNCHANGED fails

"""What goes into one Kafka transaction, and what is counted once it is durable."""

import time
from collections import Counter
from collections.abc import Sequence

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.broker.topics import DLQ_MAX_BYTES, RAW_MAX_BYTES
from engagement_stream.broker.transaction import Outbox
from engagement_stream.broker.transaction import Outgoing as Record
from engagement_stream.crashpoint import crash_point
from engagement_stream.observe.metrics import CHANGED_LATER, DEAD_LETTERS, OVERSIZED
from engagement_stream.settings import KafkaSettings

MAX_RECORDS = 30_000  # a backlog is worked off in large transactions: each commit is a wait of some 50 ms
MAX_BYTES = 32 << 20
_FRAMING_BYTES = 64 << 10  # key, headers and the batch's own frame
MAX_VALUE_BYTES = RAW_MAX_BYTES - _FRAMING_BYTES
_MAX_LETTER_BYTES = DLQ_MAX_BYTES - _FRAMING_BYTES


class Outgoing:
    """The transaction opens with its first record."""

    def __init__(self, outbox: Outbox, kafka: KafkaSettings) -> None:
        self._outbox = outbox
        self._produce = outbox.produce
        self._exactly_once = kafka.exactly_once
        self._dlq_topic, self._partitions = kafka.dlq_topic, kafka.partitions
        self._clear()

    def _clear(self) -> None:
        self.open = False
        self.opened_s = 0.0
        self.records = 0
        self.bytes = 0
        self.commit_ts_us: list[int] = []
        """Of the live rows: when their transactions were committed."""
        self.marks = 0
        """Those of the records that are watermarks, and no change of a row."""
        self.canary_us: int | None = None
        """When the newest canary among them was sent."""
        self.oversized = 0
        self.changed_later: Counter[str] = Counter()
        self._letters: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        return self.records >= MAX_RECORDS or self.bytes >= MAX_BYTES

    def begin(self) -> None:
        if not self.open:
            self._outbox.begin()
            self.open = True
            self.opened_s = time.monotonic()

    def ready_for_progress(self) -> None:
        """Before the progress is written: it belongs into the rows' transaction, or, without any, behind the rows."""
        self.begin()
        if not self._exactly_once and self.records:
            self._outbox.commit()
            crash_point("capture.rows_without_progress")

    def add(self, topic: str, value: bytes, key: bytes | None, partition: int = -1) -> None:
        """`partition` -1: by the key, with the partitioner that everyone on the road uses."""
        if not self.open:
            self.begin()
        self._produce(topic, value, key, partition)
        self.records += 1
        self.bytes += len(value)

    def add_all(self, topic: str, records: Sequence[Record]) -> None:
        """The same for many."""
        self.begin()
        self._outbox.produce_all(topic, records)
        self.records += len(records)
        self.bytes += sum([len(value) for _partition, value, _key in records])

    def add_letter(self, letter: DeadLetter) -> None:
        """Its value cut to what fits: no row is too large to leave a trace."""
        self.begin()
        value = (letter.value or b"")[:_MAX_LETTER_BYTES]
        partition = letter.offset % self._partitions
        self._produce(self._dlq_topic, value, letter.name, partition, letter.headers())
        self._letters[letter.reason] += 1
        self.records += 1
        self.bytes += len(value)

    def commit(self) -> None:
        """Everything is durable when it returns; raises TransactionLost otherwise."""
        crash_point("capture.before_commit")
        self._outbox.commit()
        crash_point("capture.after_commit")
        OVERSIZED.inc(self.oversized)
        for op, count in self.changed_later.items():
            CHANGED_LATER.labels(op).inc(count)
        for reason, count in self._letters.items():
            DEAD_LETTERS.labels("capture", reason).inc(count)
        self._clear()

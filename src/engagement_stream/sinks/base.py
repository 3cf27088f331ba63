"""The contract between the runner and a sink; its docstrings are the law, and contract tests hold every sink to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import Message

from engagement_stream.broker.dead_letter import DeadLetter


@dataclass(frozen=True, slots=True)
class Slice:
    """Everything the log of one partition holds from `prev` to `end` (offsets; `end` excluded).

    `offsets` and `values` are its records, in order. There may be fewer than end - prev, even none: transaction
    markers take offsets too.
    """

    partition: int
    prev: int
    end: int
    offsets: list[int]
    values: list[bytes]

    def after(self, offset: int) -> "Slice":
        """The part from `offset` on."""
        keep = next((i for i, o in enumerate(self.offsets) if o >= offset), len(self.offsets))
        return Slice(self.partition, max(offset, self.prev), self.end, self.offsets[keep:], self.values[keep:])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A group offset with its metadata (at most 4,096 bytes): both are always committed together."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a write made durable: partition -> next offset. Nothing else moves a position.

    A partition may be durable only in part, or be absent: its rest is offered again. `records` counts the events
    that took effect now; `commit_ts_us` are the commit times of the live ones among them.
    """

    durable: Mapping[int, int]
    records: int = 0
    commit_ts_us: Sequence[int] = field(default=())


@dataclass(frozen=True, slots=True)
class Gather:
    """How much the runner gathers before it calls `write`: up to `max_records`, for at most `linger_s`.

    Or until there are `max_bytes` of them; one chunk of the consumer may come on top.
    """

    max_records: int
    linger_s: float
    max_bytes: int = 32 << 20


class Road(Protocol):
    """What a sink may ask of Kafka.

    Every call may raise Retry; `commit` also raises Reopen when a rebalance took the partition away.
    """

    @property
    def topic(self) -> str:
        """The enriched topic."""

    def committed(self, partitions: Sequence[int]) -> dict[int, Checkpoint | None]:
        """This group's checkpoint of each partition; None where there is none."""

    def commit(self, checkpoints: Mapping[int, Checkpoint], *, wait: bool = True) -> None:
        """Commit offset and metadata together. Durable on return, unless `wait` is false."""

    def begins_at(self, partitions: Sequence[int]) -> dict[int, int]:
        """First offset that the log still holds; 0 where nothing was ever trimmed."""

    def ends_at(self, partitions: Sequence[int]) -> dict[int, int]:
        """Offset after the last committed record, as of now."""

    def read(self, partition: int, start: int, end: int | None = None) -> Iterator[Message]:
        """Committed records of [start, end), by default to the present end; see broker.consumer.read_range."""

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Durable on return; the same letter twice is one letter. Call it before the position moves past them."""


class Sink(Protocol):
    """A place that events are carried to."""

    @property
    def name(self) -> str:
        """`redis`, `bigquery`, `http`: the stage's name."""

    @property
    def gather(self) -> Gather:
        """How it likes its batches."""

    def open(self, partitions: Sequence[int], road: Road) -> Mapping[int, int]:
        """Take over these partitions and return the next offset of each, read from the durable position.

        Fences whoever had them before. Called at every assignment, and again after Reopen, always with all the
        partitions that are ours; whatever was held in memory is dropped. Raises Retry, Fatal.
        """

    def write(self, slices: Sequence[Slice]) -> Receipt:
        """Deliver the slices (at most one a partition) and return what is durable.

        Each slice begins where its partition's durable position is. After Retry or a partial receipt the rest is
        offered again, perhaps with more records behind it: that must double nothing. A record that can never
        be accepted is dead-lettered and passed over. Raises Retry (nothing can be done now), Reopen, Fatal.
        """

    def close(self) -> None:
        """Give up the partitions, drop connections; must not deliver anything. May be called more than once."""

"""Records that were read and are not yet durable, per partition; pure bookkeeping.

`prev` is chained from the previous end, never taken from the consumer's position, which drifts while idle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import Message

from engagement_stream.sinks.base import Gather, Slice

_IDLE_MARKERS_S = 2.0
"""A position that only has to move past transaction markers moves after this much quiet, not after each batch."""


@dataclass(slots=True)
class _Part:
    prev: int
    end: int
    offsets: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)


class Pending:
    """What the runner holds between polling and writing; `starts`: where each partition goes on from."""

    def __init__(self, starts: Mapping[int, int] | None = None) -> None:
        self._parts = {partition: _Part(start, start) for partition, start in (starts or {}).items()}
        self.records = 0
        self.bytes = 0
        self.since_s = 0.0
        """Monotonic time at which the oldest pending record came."""
        self._idle_since_s: float | None = None

    @property
    def empty(self) -> bool:
        """No records wait."""
        return self.records == 0

    def add(self, message: Message, now_s: float) -> bytes:
        """A record was read; returns its value. Below the position (a seek's leftovers) it is passed over."""
        partition, offset, value = message.partition() or 0, message.offset() or 0, message.value() or b""
        part = self._parts.get(partition)
        if part is None or offset < part.end:
            return value
        if self.records == 0:
            self.since_s = now_s
        part.offsets.append(offset)
        part.values.append(value)
        self.bytes += len(value)
        part.end = offset + 1
        self.records += 1
        return value

    def reached(self, partition: int, end: int, now_s: float) -> None:
        """The log ends at `end` for now: what lies between are markers, so the position may move there."""
        part = self._parts.get(partition)
        if part is not None and end > part.end:
            part.end = end
            if self._idle_since_s is None:
                self._idle_since_s = now_s

    def room(self, gather: Gather) -> int:
        """How many records more are wanted; 0 or less: it is enough."""
        return gather.max_records - self.records if self.bytes < gather.max_bytes else 0

    def due(self, gather: Gather, now_s: float) -> bool:
        """Whether it is time to write."""
        if self.records:
            return self.room(gather) <= 0 or now_s - self.since_s >= gather.linger_s
        return self._idle_since_s is not None and now_s - self._idle_since_s >= _IDLE_MARKERS_S

    def slices(self) -> list[Slice]:
        """Everything that waits, one slice a partition; what is added later does not change it."""
        return [
            Slice(number, part.prev, part.end, part.offsets.copy(), part.values.copy())
            for number, part in self._parts.items()
            if part.end > part.prev
        ]

    def done(self, durable: Mapping[int, int]) -> None:
        """Forget what is durable."""
        for number, offset in durable.items():
            part = self._parts[number]
            rest = Slice(number, part.prev, part.end, part.offsets, part.values).after(offset)
            self.records -= len(part.offsets) - len(rest.offsets)
            self.bytes -= sum(map(len, part.values)) - sum(map(len, rest.values))
            part.prev, part.offsets, part.values = offset, rest.offsets, rest.values
            part.end = max(part.end, offset)
        if all(part.end == part.prev for part in self._parts.values()):
            self._idle_since_s = None

    def positions(self) -> dict[int, int]:
        """Durable position of each partition."""
        return {number: part.prev for number, part in self._parts.items()}

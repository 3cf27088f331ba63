"""What the topics hold: offsets, asked for before anything is read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Message

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.positions import begins
from engagement_stream.broker.topics import high_watermarks
from engagement_stream.settings import KafkaSettings

Offsets = dict[int, int]
"""Partition -> next offset."""
Range = tuple[int, int]
"""Offsets [first, end)."""

_SMALL = {
    "queued.max.messages.kbytes": 8_192,
    "fetch.max.bytes": 4 << 20,
    "fetch.message.max.bytes": 1 << 20,
    "fetch.queue.backoff.ms": 5,  # how long a full queue rests; the default, a second, is longer than emptying it
}
"""What a reader holds ahead: enough to be fast (a larger record still comes), little enough for a small machine."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a topic held when it was looked at: offsets [begin, end) of each partition."""

    topic: str
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    def trimmed(self, start: Mapping[int, int]) -> bool:
        """Whether retention has taken something that was to be read from `start` on."""
        return any(begin > start.get(partition, 0) for partition, begin in enumerate(self.begins))

    def ranges(self, wanted: Mapping[int, Iterable[Range]]) -> dict[int, list[Range]]:
        """Partition -> those parts of the wanted ranges that the topic still holds, each offset once."""
        return {
            partition: merged((max(first, begin), min(stop, end)) for first, stop in wanted.get(partition, ()))
            for partition, (begin, end) in enumerate(zip(self.begins, self.ends, strict=True))
        }

    def messages(self, kafka: KafkaSettings, ranges: Mapping[int, Sequence[Range]]) -> Iterator[Message]:
        """Every committed record of these ranges, partition by partition."""
        for partition, parts in ranges.items():
            for first, end in parts:
                yield from read_range(kafka, self.topic, partition, first, end=end, **_SMALL)


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same offsets in ascending ranges that do not touch; empty ones are left out. Pure."""
    found: list[Range] = []
    for first, end in sorted(part for part in ranges if part[0] < part[1]):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((first, end))
    return found


def extent(kafka: KafkaSettings, topic: str, partitions: int) -> Extent:
    """As of now. Raises Retry."""
    return Extent(topic, tuple(begins(kafka, topic, partitions)), tuple(high_watermarks(kafka, topic, partitions)))

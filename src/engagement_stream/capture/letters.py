"""Which events lie in the dead-letter queue: a replay brings them, so a rebuild or a backfill leaves them out."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Message

from engagement_stream.broker.consumer import read_range
from engagement_stream.capture import pgoutput
from engagement_stream.capture.tables import EVENTS
from engagement_stream.model.position import SNAPSHOT_EVENT_INDEX
from engagement_stream.settings import KafkaSettings

BEFORE_REDIS = frozenset({"capture", "enrich", "redis"})
"""Letters of other sinks say nothing about Redis."""


class _Row(msgspec.Struct, gc=False):
    id: int | None = None


class _AnyEvent(msgspec.Struct, gc=False):
    event_id: int | None = None
    after: _Row | None = None


_decode = msgspec.json.Decoder(_AnyEvent).decode


@dataclass(slots=True)
class Letters:
    """`event_ids`: events to leave out. `of_redis`: partition -> offsets whose records Redis' own sink refused."""

    event_ids: set[int] = field(default_factory=set)
    of_redis: dict[int, set[int]] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    """Stage -> letters that do not tell which event they are about."""
    named: dict[str, int | None] = field(default_factory=dict)
    """The letter's name -> its event."""

    def counts_below(self, ends: Sequence[int]) -> list[int]:
        """How many records of each partition Redis' sink refused before these offsets."""
        return [sum(at < end for at in self.of_redis.get(partition, ())) for partition, end in enumerate(ends)]


def read_letters(kafka: KafkaSettings, id_at: int, stages: Collection[str] = BEFORE_REDIS) -> Letters:
    """Every letter of these stages up to now. `id_at`: which column of engagement_events the id is. Raises Retry."""
    letters = Letters()
    for partition in range(kafka.partitions):
        for message in read_range(kafka, kafka.dlq_topic, partition, OFFSET_BEGINNING):
            _take(letters, kafka, id_at, stages, message)
    return letters


def _take(letters: Letters, kafka: KafkaSettings, id_at: int, stages: Collection[str], message: Message) -> None:
    name, value = message.key(), message.value()
    parts = (name if isinstance(name, bytes) else b"").decode(errors="replace").rsplit("/", 2)
    stage, _, topic = parts[0].partition("/")
    if len(parts) != 3 or stage not in stages or not (parts[1].isdigit() and parts[2].isdigit()):
        return
    partition, offset, data = int(parts[1]), int(parts[2]), value if isinstance(value, bytes) else b""
    if stage == "redis" and topic == kafka.enriched_topic:
        letters.of_redis.setdefault(partition, set()).add(offset)
    if stage == "capture":
        if topic != EVENTS or data[:1] in {b"U", b"D"}:
            return  # a change of a delivered event, or of a content
        event_id = offset if partition == SNAPSHOT_EVENT_INDEX else _captured_id(data, id_at)
    else:
        event_id = event_of(data)
    letters.named[f"{stage}/{topic}/{partition}/{offset}"] = event_id
    if event_id is None:
        letters.unknown[stage] += 1
    else:
        letters.event_ids.add(event_id)


def event_of(value: bytes) -> int | None:
    """The event that a raw, enriched or replayed record is about; None where it does not tell."""
    try:
        found = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found.event_id if found.after is None else found.after.id


def _captured_id(message: bytes, id_at: int) -> int | None:
    """Of what the server sent for an inserted row."""
    try:
        _, values = pgoutput.insert(message)
        value = values[id_at]
    except (ValueError, IndexError):  # cut, or of a table that looked different then
        return None
    return int(value) if isinstance(value, bytes) and value.isdigit() else None

"""Which events lie in the dead-letter queue instead of in Redis: a replay brings them, so a rebuild leaves them out.

A letter that was sent back is settled when the rebuilt state will not meet its replay again, and then its event counts:

- to Redis: the replay lies before the fence of replays that was read first. It was counted or refused again then, and
  the rebuilt state goes on from that fence. Behind it the sink brings it.
- to enrich: its output lies before the mark, where the sink passes over all that is so old. Behind it the sink counts.

The order of reading makes it so: marks and fences, positions, letters, what became of them, replays, enriched records.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaException, Message, TopicPartition

from engagement_stream.broker.consumer import consumer, read_range
from engagement_stream.capture import pgoutput
from engagement_stream.capture.tables import EVENTS
from engagement_stream.dlq.mark import decode_mark
from engagement_stream.dlq.positions import committed
from engagement_stream.errors import Retry
from engagement_stream.model.position import SNAPSHOT_EVENT_INDEX
from engagement_stream.settings import KafkaSettings

_STAGES = frozenset({"capture", "enrich", "redis"})
"""Those before Redis; letters of other sinks say nothing about it."""
_TIMEOUT_S = 15.0


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

    def counts_below(self, ends: Sequence[int]) -> list[int]:
        """How many records of each partition Redis' sink refused before these offsets."""
        return [sum(at < end for at in self.of_redis.get(partition, ())) for partition, end in enumerate(ends)]


@dataclass(frozen=True, slots=True)
class Settled:
    """Offsets of each partition: of the mark in the enriched topic, and of the fence of replays to Redis."""

    marks: Sequence[int]
    replays: Sequence[int]


def replays_counted(kafka: KafkaSettings, fences: Sequence[int]) -> list[int]:
    """The fences of replays to Redis, not before what their topic still holds. Raises Retry."""
    return [max(pair) for pair in zip(fences, _begins(kafka, kafka.retry_topic("redis")), strict=True)]


def read_letters(kafka: KafkaSettings, id_at: int, settled: Settled) -> Letters:
    """Every letter up to now. `id_at`: which column of engagement_events the id is. Raises Retry."""
    letters = Letters()
    enriched_to = committed(kafka, "enrich", kafka.retry_topic("enrich"))
    names: dict[str, int | None] = {}
    for partition in range(kafka.partitions):
        for message in read_range(kafka, kafka.dlq_topic, partition, OFFSET_BEGINNING):
            _take(letters, names, kafka, id_at, message)
    sent_back = {name for name in _sent_back(kafka) if name in names}
    letters.event_ids |= {i for name, i in names.items() if i is not None and name not in sent_back}
    maybe = {i for name in sent_back if name.startswith("enrich/") and (i := names[name]) is not None}
    for partition in range(kafka.partitions):
        unsettled = {"redis": settled.replays[partition], "enrich": enriched_to.get(partition, 0)}
        for stage, start in unsettled.items():
            for message in read_range(kafka, kafka.retry_topic(stage), partition, start):
                event_id = _event_id(message.value() or b"")
                letters.event_ids |= set() if event_id is None else {event_id}
        if maybe:
            for message in read_range(kafka, kafka.enriched_topic, partition, settled.marks[partition]):
                if (event_id := _event_id(message.value() or b"")) in maybe and event_id is not None:
                    letters.event_ids.add(event_id)
    return letters


def _sent_back(kafka: KafkaSettings) -> Iterator[str]:
    """Names of the letters that were replayed."""
    for message in read_range(kafka, kafka.dlq_state_topic, 0, OFFSET_BEGINNING):
        with contextlib.suppress(msgspec.MsgspecError):
            if decode_mark(message.value() or b"").state == "replayed":
                yield (message.key() or b"").decode(errors="replace")


def _begins(kafka: KafkaSettings, topic: str) -> list[int]:
    reader = consumer(kafka, f"{kafka.prefix}-reader")
    try:
        return [
            reader.get_watermark_offsets(TopicPartition(topic, partition), _TIMEOUT_S)[0]
            for partition in range(kafka.partitions)
        ]
    except KafkaException as error:
        raise Retry(f"Kafka does not tell where {topic} begins: {error.args[0].str()}") from error
    finally:
        reader.close()


def _take(letters: Letters, names: dict[str, int | None], kafka: KafkaSettings, id_at: int, message: Message) -> None:
    name, value = message.key(), message.value()
    parts = (name if isinstance(name, bytes) else b"").decode(errors="replace").rsplit("/", 2)
    stage, _, topic = parts[0].partition("/")
    if len(parts) != 3 or stage not in _STAGES or not (parts[1].isdigit() and parts[2].isdigit()):
        return
    partition, offset, data = int(parts[1]), int(parts[2]), value if isinstance(value, bytes) else b""
    if stage == "redis" and topic == kafka.enriched_topic:
        letters.of_redis.setdefault(partition, set()).add(offset)
    if stage == "capture":
        if topic != EVENTS or data[:1] in {b"U", b"D"}:
            return  # a change of a delivered event, or of a content
        event_id = offset if partition == SNAPSHOT_EVENT_INDEX else _captured_id(data, id_at)
    else:
        event_id = _event_id(data)
    if event_id is None:
        letters.unknown[stage] += 1
    names[f"{stage}/{topic}/{partition}/{offset}"] = event_id


def _event_id(value: bytes) -> int | None:
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

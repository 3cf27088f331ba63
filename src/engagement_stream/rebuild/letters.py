"""Which events lie in the dead-letter queue instead of in Redis: a replay brings them, so a rebuild leaves them out.

A letter that was sent back is settled when the rebuilt state will not meet its replay again, and then its event counts:

- to Redis: the replay lies before the fence of replays that was read first. It was counted or refused again then, and
  the rebuilt state goes on from that fence. Behind it the sink brings it.
- to enrich: its output lies before the mark, where the sink passes over all that is so old. Behind it the sink counts.

The order of reading makes it so: marks and fences, positions, letters, what became of them, replays, enriched records.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from confluent_kafka import OFFSET_BEGINNING

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.positions import begins, committed
from engagement_stream.capture.letters import Letters, event_of, read_letters
from engagement_stream.dlq.mark import decode_mark
from engagement_stream.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Settled:
    """Offsets of each partition: of the mark in the enriched topic, and of the fence of replays to Redis."""

    marks: Sequence[int]
    replays: Sequence[int]


def replays_counted(kafka: KafkaSettings, fences: Sequence[int]) -> list[int]:
    """The fences of replays to Redis, not before what their topic still holds. Raises Retry."""
    return [max(pair) for pair in zip(fences, begins(kafka, kafka.retry_topic("redis"), kafka.partitions), strict=True)]


def letters_to_leave_out(kafka: KafkaSettings, id_at: int, settled: Settled) -> Letters:
    """Every letter that is not settled. `id_at`: which column of engagement_events the id is. Raises Retry."""
    enriched_to = committed(kafka, "enrich", kafka.retry_topic("enrich"))
    letters = read_letters(kafka, id_at)
    names = letters.named
    sent_back = {name for name in _sent_back(kafka) if name in names}
    letters.event_ids = {i for name, i in names.items() if i is not None and name not in sent_back}
    maybe = {i for name in sent_back if name.startswith("enrich/") and (i := names[name]) is not None}
    for partition in range(kafka.partitions):
        unsettled = {"redis": settled.replays[partition], "enrich": enriched_to.get(partition) or 0}
        for stage, start in unsettled.items():
            for message in read_range(kafka, kafka.retry_topic(stage), partition, start):
                event_id = event_of(message.value() or b"")
                letters.event_ids |= set() if event_id is None else {event_id}
        if maybe:
            for message in read_range(kafka, kafka.enriched_topic, partition, settled.marks[partition]):
                if (event_id := event_of(message.value() or b"")) in maybe and event_id is not None:
                    letters.event_ids.add(event_id)
    return letters


def _sent_back(kafka: KafkaSettings) -> Iterator[str]:
    """Names of the letters that were replayed."""
    for message in read_range(kafka, kafka.dlq_state_topic, 0, OFFSET_BEGINNING):
        with contextlib.suppress(msgspec.MsgspecError):
            if decode_mark(message.value() or b"").state == "replayed":
                yield (message.key() or b"").decode(errors="replace")

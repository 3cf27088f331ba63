"""Replayed dead letters as rows: each stands at the place of its first failure, as if it had been taken then. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
from confluent_kafka import Message

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.broker.retry import parse_place, replay_of
from engagement_stream.sinks.bigquery.payload import json_problem
from engagement_stream.sinks.bigquery.rows import (
    PAYLOAD,
    SCHEMA,
    STAGE,
    Event,
    Rows,
    decode_event,
    record_batch,
)
from engagement_stream.sinks.bigquery.table import COLUMNS


@dataclass(slots=True)
class ReplayBatch:
    """The records of [start, end) of one partition of the replays' topic."""

    topic: str
    partition: int
    offsets: list[int] = field(default_factory=list)
    """Where the replays lie; `rows[i]` is the record at `offsets[i]`."""
    rows: list[tuple[tuple[str, int, int], bytes, Event]] = field(default_factory=list)
    """(place of the first failure, value, event)."""
    letters: list[DeadLetter] = field(default_factory=list)

    def letter(self, offset: int, value: bytes, reason: str, detail: str) -> DeadLetter:
        return DeadLetter(STAGE, self.topic, self.partition, offset, None, value, reason, detail)

    def digest(self, table: str) -> str:
        """Names the batch's effect on this table: a topic that was made anew does not repeat the old one's names."""
        found = hashlib.sha256(table.encode())
        for place, value, _ in self.rows:
            found.update(b"%a" % (place,))
            found.update(value)
        return found.hexdigest()[:16]

    def parquet_table(self) -> pa.Table:
        """In the table's columns, each event once: two letters may be about one."""
        by_place: dict[tuple[str, int], Rows] = {}
        seen: set[int] = set()
        for (topic, partition, offset), value, event in self.rows:
            if event.event_id in seen:
                continue
            seen.add(event.event_id)
            rows = by_place.setdefault((topic, partition), Rows([], [], [], set()))
            rows.offsets.append(offset)
            rows.values.append(value)
            rows.events.append(event)
        return pa.Table.from_batches(
            [record_batch(rows, topic, partition) for (topic, partition), rows in by_place.items()], schema=SCHEMA
        )


def replay_batch(topic: str, partition: int, messages: Iterable[Message]) -> ReplayBatch:
    """Decode; what still cannot be a row is a letter again. How old an event is does not matter to a load job."""
    batch = ReplayBatch(topic, partition)
    for message in messages:
        value, offset = message.value() or b"", message.offset() or 0
        try:
            event = decode_event(value)
        except (msgspec.MsgspecError, ValueError) as error:
            batch.letters.append(batch.letter(offset, value, "malformed", str(error)))
            continue
        if event.raw_payload is not None and (problem := json_problem(event.raw_payload)):
            batch.letters.append(batch.letter(offset, value, PAYLOAD, problem))
            continue
        replay = replay_of(message)
        place = None if replay is None else parse_place(replay.origin)
        batch.offsets.append(offset)
        batch.rows.append((place or (topic, partition, offset), value, event))
    return batch


def values_sql() -> tuple[str, str]:
    """(columns, what to select for them)."""
    names = [name for name, _, _ in COLUMNS]
    chosen = [
        f"PARSE_JSON(s.{name}, wide_number_mode => 'round')" if name == "raw_payload" else f"s.{name}" for name in names
    ]
    return ", ".join(names), ", ".join(chosen)

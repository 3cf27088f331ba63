"""From records to rows, pure: one record is one row, always.

A record that cannot be a row as it is becomes a placeholder (`_dlq` true, nothing but keys) and a dead letter, so that
counting rows is counting records.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec
import pyarrow as pa

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.model.engagement import LIVE, is_watermark
from engagement_stream.sinks.base import Slice
from engagement_stream.sinks.bigquery.payload import json_problem
from engagement_stream.sinks.decode import decode

STAGE: Final = "bigquery"
OUT_OF_RANGE: Final = "outside what streaming accepts"
PAYLOAD: Final = "payload is not storable JSON"
REFUSED: Final = "refused"
TOO_LARGE: Final = "too large"

DAYS_BACK, DAYS_AHEAD = 3_650, 366
"""What streaming into a table partitioned by day takes at most, around today. Where the service draws the line nearer
(its messages have named 1,825 days too), it refuses the row itself, to the same effect."""

_Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Micros = Annotated[int, msgspec.Meta(ge=-62_135_596_800_000_000, le=253_402_300_799_999_999)]  # years 1 to 9999
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Event(msgspec.Struct, gc=False):
    """An enriched record, as far as a row needs it; see model.engagement. A placeholder lacks most of it."""

    event_id: _Int64
    content_id: str | None
    user_id: str | None
    event_type: str | None
    event_ts: _Moment
    duration_ms: _Int64 | None
    device: str | None
    raw_payload: str | None
    slug: str | None
    title: str | None
    content_type: str | None
    length_seconds: _Int64 | None
    publish_ts: _Moment | None
    engagement_seconds: float | None
    engagement_pct: float | None
    position: tuple[_Int64, _Int64]
    commit_ts_us: _Micros
    source: str


decode_event = msgspec.json.Decoder(Event).decode
"""bytes -> Event; raises msgspec.MsgspecError."""

_UTC_US = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("event_id", pa.int64()),
        ("content_id", pa.string()),
        ("user_id", pa.string()),
        ("event_type", pa.string()),
        ("event_ts", _UTC_US),
        ("duration_ms", pa.int64()),
        ("device", pa.string()),
        ("raw_payload", pa.string()),  # BigQuery parses it into its JSON column
        ("slug", pa.string()),
        ("title", pa.string()),
        ("content_type", pa.string()),
        ("length_seconds", pa.int64()),
        ("publish_ts", _UTC_US),
        ("engagement_seconds", pa.float64()),
        ("engagement_pct", pa.float64()),
        ("commit_lsn", pa.int64()),
        ("commit_ts", _UTC_US),
        ("_topic", pa.string()),
        ("_topic_partition", pa.int64()),
        ("_offset", pa.int64()),
        ("_source", pa.string()),
        ("_dlq", pa.bool_()),
    ]
)
"""Names and order are those of table.COLUMNS; a test holds them together."""


@dataclass(slots=True)
class Rows:
    """Records of one partition that make a row each. `events[i]` is None where not even the id is known.

    `events` is empty once they were forgotten.
    """

    offsets: list[int]
    values: list[bytes]
    events: list[Event | None]
    dead: set[int]
    """Indexes of the placeholders."""

    def __len__(self) -> int:
        return len(self.offsets)

    def part(self, first: int, last: int) -> "Rows":
        """Rows first to last - 1."""
        dead = {i - first for i in self.dead if first <= i < last}
        return Rows(self.offsets[first:last], self.values[first:last], self.events[first:last], dead)

    def known(self) -> list[Event | None]:
        """The events, read again where they were forgotten."""
        if len(self.events) == len(self.values):
            return self.events
        return [_event_or_none(value) for value in self.values]

    def forget(self) -> None:
        """Keep the records only: as objects they take more than twice as much, and hardly ever are asked for again."""
        self.events = []

    def live_commit_ts_us(self) -> list[int]:
        """Commit times of the events that take effect and came by the live stream."""
        events = self.known()
        if self.dead:
            events = [event for index, event in enumerate(events) if index not in self.dead]
        return [event.commit_ts_us for event in events if event is not None and event.source == LIVE]


def _event_or_none(value: bytes) -> Event | None:
    try:
        return decode_event(value)
    except (msgspec.MsgspecError, ValueError):
        return None


def read_rows(piece: Slice, topic: str, now: datetime) -> tuple[Rows, list[DeadLetter]]:
    """The slice's rows, placeholders among them, and the letters that stand for those."""
    decoded = decode(piece, decode_event, stage=STAGE, topic=topic)
    if not decoded.letters:
        watermarks = len(decoded.offsets) < len(piece.offsets)
        values = [v for v in piece.values if not is_watermark(v)] if watermarks else piece.values
        rows = Rows(decoded.offsets, values, [*decoded.events], set())
    else:
        known = dict(zip(decoded.offsets, decoded.events, strict=True))
        kept = [(o, v) for o, v in zip(piece.offsets, piece.values, strict=True) if not is_watermark(v)]
        rows = Rows([o for o, _ in kept], [v for _, v in kept], [known.get(o) for o, _ in kept], set())
        rows.dead = {i for i, event in enumerate(rows.events) if event is None}
    return rows, decoded.letters + _refuse_unstorable(rows, piece.partition, topic, now)


def _refuse_unstorable(rows: Rows, partition: int, topic: str, now: datetime) -> list[DeadLetter]:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    earliest, latest = midnight - timedelta(days=DAYS_BACK), midnight + timedelta(days=DAYS_AHEAD)
    letters = []
    for index, event in enumerate(rows.events):
        if event is None:
            continue
        if not earliest <= event.event_ts < latest:
            detail = f"event_ts is {event.event_ts.isoformat()}; streaming takes {earliest:%F} to {latest:%F}"
            letters.append(refuse(rows, index, partition, topic, OUT_OF_RANGE, detail))
        elif event.raw_payload is not None and (problem := json_problem(event.raw_payload)):
            letters.append(refuse(rows, index, partition, topic, PAYLOAD, problem))
    return letters


def refuse(rows: Rows, index: int, partition: int, topic: str, reason: str, detail: str) -> DeadLetter:
    """Make row `index` a placeholder; returns the letter that keeps the record."""
    rows.dead.add(index)
    return DeadLetter(STAGE, topic, partition, rows.offsets[index], None, rows.values[index], reason, detail)


def record_batch(rows: Rows, topic: str, partition: int) -> pa.RecordBatch:
    """The rows in SCHEMA's columns."""
    n = len(rows)
    events = rows.known()
    keys = events
    if rows.dead:
        events = [None if i in rows.dead else event for i, event in enumerate(events)]
        columns = [[None if e is None else getattr(e, name) for e in events] for name in _EVENT_COLUMNS]
        ids = [None if e is None else e.event_id for e in keys]
        lsns = [None if e is None else e.position[0] for e in keys]
        commits = [None if e is None else e.commit_ts_us for e in keys]
        sources = [None if e is None else e.source for e in keys]
    else:
        columns = [[getattr(e, name) for e in events] for name in _EVENT_COLUMNS]
        ids, lsns, commits, sources = [], [], [], []
        for e in events:
            assert e is not None
            ids.append(e.event_id)
            lsns.append(e.position[0])
            commits.append(e.commit_ts_us)
            sources.append(e.source)
    arrays = [pa.array(ids, pa.int64())]
    arrays += [pa.array(column, kind) for column, kind in zip(columns, _EVENT_TYPES, strict=True)]
    arrays += [
        pa.array(lsns, pa.int64()),
        pa.array(commits, pa.int64()).view(_UTC_US),  # a cast would load pyarrow.compute and, where it is, numpy
        pa.repeat(topic, n),
        pa.repeat(pa.scalar(partition, pa.int64()), n),
        pa.array(rows.offsets, pa.int64()),
        pa.array(sources, pa.string()),
        pa.array([i in rows.dead for i in range(n)]) if rows.dead else pa.repeat(pa.scalar(False), n),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


_EVENT_COLUMNS = SCHEMA.names[1:15]
"""What a placeholder has no value for: all between the id and commit_lsn."""
_EVENT_TYPES = SCHEMA.types[1:15]

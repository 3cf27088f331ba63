"""Events to Arrow rows; pure. One record is one row, always: what cannot be a row is a placeholder.

Columns are built as lists and converted at once; timestamps are parsed by Arrow, a whole column at a time.
"""

from collections.abc import Sequence

import msgspec
import pyarrow as pa

from engagement_stream.model.engagement import LIVE, Engagement
from engagement_stream.sinks.bigquery.table import ARROW_SCHEMA

SCHEMA_BYTES: bytes = ARROW_SCHEMA.serialize().to_pybytes()
_TIMESTAMP = pa.timestamp("us", "UTC")
_PLAIN = ("content_id", "user_id", "event_type", "duration_ms", "device", "raw_payload", "slug", "title",
          "content_type", "length_seconds", "engagement_seconds", "engagement_pct")  # fmt: skip


class Record(msgspec.Struct, frozen=True, gc=False):
    """One row-bearing record of the log; `event` is None where it became a placeholder."""

    offset: int
    value: bytes
    event: Engagement | None


def refused(record: Record) -> Record:
    """The same record as a placeholder: its place in the log and nothing else."""
    return Record(record.offset, record.value, None)


def arrow_rows(topic: str, partition: int, records: Sequence[Record]) -> bytes:
    """A serialized Arrow record batch with one row per record, in order.

    Raises pa.ArrowInvalid when a timestamp cannot be one (such records are not written by enrich).
    """
    events = [record.event or _PLACEHOLDER for record in records]
    count = len(records)
    columns = {
        "event_id": pa.array([e.event_id if e is not _PLACEHOLDER else None for e in events], pa.int64()),
        "event_ts": _timestamps([e.event_ts or None for e in events]),
        "publish_ts": _timestamps([e.publish_ts for e in events]),
        "commit_lsn": pa.array([e.position[0] for e in events], pa.int64()),
        "commit_ts": pa.array([e.commit_ts_us for e in events], pa.int64()).cast(_TIMESTAMP),
        "_topic": pa.repeat(pa.scalar(topic), count),
        "_topic_partition": pa.repeat(pa.scalar(partition, pa.int64()), count),
        "_topic_offset": pa.array([record.offset for record in records], pa.int64()),
        "_source": pa.array([e.source for e in events], pa.string()),
        "_dlq": pa.array([e is _PLACEHOLDER for e in events], pa.bool_()),
    }
    for name in _PLAIN:
        columns[name] = pa.array([getattr(e, name) for e in events], ARROW_SCHEMA.field(name).type)
    batch = pa.record_batch([columns[name] for name in ARROW_SCHEMA.names], schema=ARROW_SCHEMA)
    return batch.serialize().to_pybytes()  # type: ignore[no-any-return]  # untyped upstream


def live_commit_times(records: Sequence[Record]) -> list[int]:
    """Commit times (microseconds) of the live events among them."""
    return [r.event.commit_ts_us for r in records if r.event is not None and r.event.source == LIVE]


def _timestamps(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.string()).cast(_TIMESTAMP)


_PLACEHOLDER = Engagement(
    v=1, event_id=0, content_id=None, user_id=None, event_type=None, event_ts="", duration_ms=None, device=None,
    raw_payload=None, slug=None, title=None, content_type=None, length_seconds=None, publish_ts=None,
    engagement_seconds=None, engagement_pct=None, position=(0, 0), commit_ts_us=0, source="",
)  # fmt: skip

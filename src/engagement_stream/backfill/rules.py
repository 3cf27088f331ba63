"""The columnar twin of `enrich.rules`: the same values, a column at a time. Pure; a test holds the two together.

What differs is only how a row's place in history is told: by its commit's time instead of its position.
"""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from engagement_stream.backfill.history import History
from engagement_stream.sinks.bigquery.rows import SCHEMA

SOURCE: Final = "backfill"


@dataclass(frozen=True, slots=True)
class Enriched:
    """`rows` as the table takes them; `left_out`: event ids that cannot be rows, with the reason why."""

    rows: pa.Table
    left_out: list[tuple[int, str]]
    by_event_time: int
    """Rows whose content was chosen by event_ts, since their commit's time is not known."""


def enrich_columns(batch: pa.RecordBatch, known: History) -> Enriched:
    """`batch` as `source.COLUMNS` has it."""
    event_us = batch.column("event_ts").cast(pa.int64())
    commit_ts = batch.column("commit_ts")
    at_us = pc.coalesce(commit_ts.cast(pa.int64()), event_us)
    version = known.version_of(batch.column("content_id"), at_us)

    duration = batch.column("duration_ms")
    length = known.length_seconds.take(version)
    # In exactly this order, as enrich does it, so that the doubles are the same.
    seconds = pc.divide(duration.cast(pa.float64(), safe=False), 1000.0)
    divisor = pc.if_else(pc.equal(length, 0), pa.scalar(None, pa.int64()), length)
    pct = pc.multiply(pc.divide(seconds, divisor.cast(pa.float64(), safe=False)), 100.0)

    count = batch.num_rows
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns |= {
        "slug": known.slug.take(version),
        "title": known.title.take(version),
        "content_type": known.content_type.take(version),
        "length_seconds": length,
        "publish_ts": known.publish_ts.take(version),
        "engagement_seconds": seconds,
        "engagement_pct": pct,
        "_source": pa.repeat(SOURCE, count),
        "_dlq": pa.repeat(pa.scalar(False), count),
    }
    rows = pa.table(
        [columns.get(field.name, pa.nulls(count, field.type)) for field in SCHEMA],
        schema=SCHEMA,
    )
    problem = known.problem.take(version)
    left_out: list[tuple[int, str]] = []
    if problem.null_count < count:
        refused = pc.is_valid(problem)
        ids, reasons = rows.column("event_id").filter(refused), problem.filter(refused)
        left_out = list(zip(ids.to_pylist(), reasons.to_pylist(), strict=True))
        rows = rows.filter(pc.invert(refused))
    return Enriched(rows, left_out, commit_ts.null_count)


def without(rows: pa.Table, ids: pa.Array, reason: str) -> tuple[pa.Table, list[tuple[int, str]]]:
    """The rows but those of these events, and the latter with the reason."""
    if not len(ids):
        return rows, []
    among = pc.is_in(rows.column("event_id"), value_set=ids)
    if not pc.any(among).as_py():
        return rows, []
    left_out = [(event_id, reason) for event_id in rows.column("event_id").filter(among).to_pylist()]
    return rows.filter(pc.invert(among)), left_out

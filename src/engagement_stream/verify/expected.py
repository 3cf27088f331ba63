"""What an enriched record has to be, worked out anew and apart from enrich's own code. Pure.

Only the catalog's reading of the content topic is shared. The join, the arithmetic and the refusals are the ledger's
own: a defect in `enrich.rules` must not be its own judge.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from engagement_stream.enrich.versions import Version
from engagement_stream.model.change import OP_READ, EventChange
from engagement_stream.model.engagement import FORMAT_VERSION, LIVE, SNAPSHOT, Engagement
from engagement_stream.model.position import Position

_INT64 = 1 << 63


def expected(change: EventChange, catalog: Mapping[str, Sequence[Version]]) -> Engagement | None:
    """The engagement of a change of op c or r; None where it cannot be one and belongs into the dead-letter queue."""
    row, source = change.after, change.source
    if (
        row is None
        or not _is_moment(row.event_ts)
        or not _fit(row.id, row.duration_ms or 0, source.ts_us, *source.position)
    ):
        return None
    versions = catalog.get(row.content_id, ()) if row.content_id is not None else ()
    version = _as_of(versions, source.position)
    if version is None and versions and not versions[0].created:
        return None  # an older version existed and is gone
    if version is not None and version.exists and version.problem is not None:
        return None
    known = version if version is not None and version.exists else _UNKNOWN
    seconds = None if row.duration_ms is None else row.duration_ms / 1000
    length = known.length_seconds
    return Engagement(
        v=FORMAT_VERSION,
        event_id=row.id,
        content_id=row.content_id,
        user_id=row.user_id,
        event_type=row.event_type,
        event_ts=row.event_ts,
        duration_ms=row.duration_ms,
        device=row.device,
        raw_payload=row.raw_payload,
        slug=known.slug,
        title=known.title,
        content_type=known.content_type,
        length_seconds=length,
        publish_ts=known.publish_ts,
        engagement_seconds=seconds,
        engagement_pct=None if seconds is None or not length else seconds / length * 100,
        position=source.position,
        commit_ts_us=source.ts_us,
        source=SNAPSHOT if change.op == OP_READ else LIVE,
    )


_UNKNOWN = Version((0, 0), exists=False)


def _as_of(versions: Sequence[Version], position: Position) -> Version | None:
    """The newest that is strictly older, found by halving."""
    low, high = 0, len(versions)
    while low < high:
        middle = (low + high) // 2
        if versions[middle].position < position:
            low = middle + 1
        else:
            high = middle
    return versions[low - 1] if low else None


def _fit(*numbers: int) -> bool:
    return min(numbers) >= -_INT64 and max(numbers) < _INT64


def _is_moment(text: str) -> bool:
    """A year from 1 to 9999, in UTC."""
    if not text.endswith("Z") or text[4:5] != "-" or text[10:11] != "T":
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True

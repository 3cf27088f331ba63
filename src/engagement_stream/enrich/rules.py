"""What an enriched event is: pure, no I/O, no clock. The same change and the same versions give the same bytes.

The as-of rule: an event joins the newest version of its content whose position is strictly less than its own.

- `content_id` NULL, no version at all, or the content deleted as of then: the content's fields are NULL.
- The oldest known version is the content's creation, and it came after the event: there was no content then, so NULL.
  (With the foreign key of sql/init.sql this cannot be; a deferred key or replayed dumps can make it so. NULL is the
  only answer that does not depend on whether the later version has been read yet.)
- The oldest known version is anything else and came after the event: an older one existed and is gone. `history gone`,
  never NULL.
"""

from collections.abc import Mapping, Sequence

from engagement_stream.enrich.storable import (
    HISTORY_GONE,
    INT64_MAX,
    INT64_MIN,
    MALFORMED,
    NUMBER_OUT_OF_RANGE,
    TIMESTAMP_OUT_OF_RANGE,
    Rejected,
    fits_int64,
    storable_timestamp,
)
from engagement_stream.enrich.versions import Version
from engagement_stream.model.change import OP_READ, EventChange, EventRow
from engagement_stream.model.engagement import FORMAT_VERSION, LIVE, SNAPSHOT, Engagement, Watermark
from engagement_stream.model.position import Position

_NO_VERSIONS: tuple[Version, ...] = ()


def enrich(change: EventChange, catalog: Mapping[str, Sequence[Version]]) -> Engagement:
    """The engagement that a change of op c or r stands for; `catalog` is content id -> its versions, oldest first.

    Raises Rejected.
    """
    row = change.after
    if row is None:
        raise Rejected(MALFORMED, f"op {change.op} without a row in `after`")
    source = change.source
    position = source.position
    if not storable_timestamp(row.event_ts):
        raise Rejected(TIMESTAMP_OUT_OF_RANGE, f"event_ts {row.event_ts[:40]!r} is not within years 1 to 9999 in UTC")
    duration_ms = row.duration_ms
    # Five calls of fits_int64 would be a sixth of what enriching costs.
    if not (
        INT64_MIN <= row.id <= INT64_MAX
        and (duration_ms is None or INT64_MIN <= duration_ms <= INT64_MAX)
        and INT64_MIN <= position[0] <= INT64_MAX
        and INT64_MIN <= position[1] <= INT64_MAX
        and INT64_MIN <= source.ts_us <= INT64_MAX
    ):
        raise _number_out_of_range(row)

    version = None
    if row.content_id is not None:
        versions = catalog.get(row.content_id, _NO_VERSIONS)
        if versions:
            version = versions[-1]
            if version.position >= position:
                version = _as_of(versions, position)

    # In exactly this order, so that a columnar computation gives the identical doubles.
    seconds = None if duration_ms is None else duration_ms / 1000
    if version is None or not version.exists:
        slug = title = content_type = length_seconds = publish_ts = pct = None
    else:
        if version.problem is not None:
            raise Rejected(*version.problem)
        slug, title, content_type = version.slug, version.title, version.content_type
        length_seconds, publish_ts = version.length_seconds, version.publish_ts
        pct = seconds / length_seconds * 100 if seconds is not None and length_seconds else None
    return Engagement(
        FORMAT_VERSION,
        row.id,
        row.content_id,
        row.user_id,
        row.event_type,
        row.event_ts,
        duration_ms,
        row.device,
        row.raw_payload,
        slug,
        title,
        content_type,
        length_seconds,
        publish_ts,
        seconds,
        pct,
        position,
        source.ts_us,
        SNAPSHOT if change.op == OP_READ else LIVE,
    )


def watermark(change: EventChange) -> Watermark:
    """The mark that a logical message of ours stands for. Raises Rejected."""
    if change.message is None:
        raise Rejected(MALFORMED, "op m without a `message`")
    return Watermark(FORMAT_VERSION, change.message.content, change.source.position, change.source.ts_us)


def _as_of(versions: Sequence[Version], position: Position) -> Version | None:
    for version in reversed(versions):
        if version.position < position:
            return version
    oldest = versions[0]
    if oldest.created:
        return None
    raise Rejected(
        HISTORY_GONE,
        f"the oldest known version of its content is of {oldest.position}, after the event at {position}",
    )


def _number_out_of_range(row: EventRow) -> Rejected:
    if not fits_int64(row.id):
        return Rejected(NUMBER_OUT_OF_RANGE, "id does not fit into 64 bits")
    if row.duration_ms is not None and not fits_int64(row.duration_ms):
        return Rejected(NUMBER_OUT_OF_RANGE, "duration_ms does not fit into 64 bits")
    return Rejected(NUMBER_OUT_OF_RANGE, "source.position or source.ts_us does not fit into 64 bits")

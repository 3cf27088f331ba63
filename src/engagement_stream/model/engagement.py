"""Enriched engagements: the flat, versioned record that every sink reads.

Described for users by docs/reference/enriched-record.schema.json; a test holds the two together.
"""

import msgspec

from engagement_stream.model.position import Position

FORMAT_VERSION = 1
LIVE = "live"
SNAPSHOT = "snapshot"


class Engagement(msgspec.Struct, frozen=True, gc=False):
    """One event with what was known about its content when it happened.

    `event_ts` and `publish_ts` are ISO 8601 in UTC, within years 1 to 9999. `engagement_seconds` is
    duration_ms / 1000; `engagement_pct` is engagement_seconds / length_seconds * 100, NULL where an input is
    NULL or the length is 0. `commit_ts_us`: microseconds since 1970 of the source transaction's commit (of the
    snapshot for `source` = snapshot).
    """

    v: int
    event_id: int
    content_id: str | None
    user_id: str | None
    event_type: str | None
    event_ts: str
    duration_ms: int | None
    device: str | None
    raw_payload: str | None
    slug: str | None
    title: str | None
    content_type: str | None
    length_seconds: int | None
    publish_ts: str | None
    engagement_seconds: float | None
    engagement_pct: float | None
    position: Position
    commit_ts_us: int
    source: str


class Watermark(msgspec.Struct, frozen=True, gc=False, tag="watermark", tag_field="kind"):
    """A mark that passes through every partition; it makes no row and no effect, it only has a position."""

    v: int
    watermark: str
    position: Position
    commit_ts_us: int


WATERMARK_MARK = b'{"kind":"watermark"'
"""How an encoded Watermark begins; no Engagement does."""

encode_enriched = msgspec.json.Encoder().encode
"""Engagement or Watermark -> bytes, the same for the same input always."""

decode_engagement = msgspec.json.Decoder(Engagement).decode
"""bytes -> Engagement; raises msgspec.MsgspecError. Watermarks are told apart by `is_watermark` first."""


def is_watermark(value: bytes) -> bool:
    """True for records that carry no event; sinks pass over them, their position moves all the same."""
    return value.startswith(WATERMARK_MARK)

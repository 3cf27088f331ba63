"""Captured changes: Debezium's envelope, typed, as it lies in the raw topics.

Shape (docs/reference/raw-record.md): `{before, after, source, op, ts_ms}`; uuid as text, timestamptz as ISO 8601
in UTC (`2025-08-01T12:00:00.5Z`; also `infinity`, `-infinity` and a trailing ` BC`, as PostgreSQL has them), jsonb as
its JSON text. Our two additions stand in `source`, where any Debezium consumer passes over them: `position` of
the change, and `catalog`, the position of the last content change before it.
Source of the shape: Debezium's documentation of the PostgreSQL connector, "Data change events".
"""

import msgspec

from engagement_stream.model.position import Position

OP_READ = "r"
OP_CREATE = "c"
OP_UPDATE = "u"
OP_DELETE = "d"
OP_TRUNCATE = "t"
OP_MESSAGE = "m"
WATERMARK_PREFIX = "engagement.watermark"
"""Prefix of the logical messages that capture copies to every partition."""


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where a change came from. `lsn` and `ts_us` are of the transaction's commit for streamed changes."""

    table: str
    ts_us: int
    position: Position
    catalog: Position
    lsn: int | None = None


class EventRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `engagement_events`."""

    id: int
    event_ts: str
    content_id: str | None = None
    user_id: str | None = None
    event_type: str | None = None
    duration_ms: int | None = None
    device: str | None = None
    raw_payload: str | None = None


class ContentRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `content`."""

    id: str
    slug: str
    title: str
    publish_ts: str
    content_type: str | None = None
    length_seconds: int | None = None


class LogicalMessage(msgspec.Struct, frozen=True, gc=False):
    """What `pg_logical_emit_message` carried."""

    prefix: str
    content: str


class EventChange(msgspec.Struct, frozen=True, gc=False):
    """One record of the events topic."""

    op: str
    source: Source
    before: EventRow | None = None
    after: EventRow | None = None
    message: LogicalMessage | None = None


class ContentChange(msgspec.Struct, frozen=True, gc=False):
    """One record of the content topic."""

    op: str
    source: Source
    before: ContentRow | None = None
    after: ContentRow | None = None


decode_event_change = msgspec.json.Decoder(EventChange).decode
"""bytes -> EventChange; raises msgspec.MsgspecError (DecodeError, ValidationError)."""

decode_content_change = msgspec.json.Decoder(ContentChange).decode
"""bytes -> ContentChange; raises msgspec.MsgspecError."""

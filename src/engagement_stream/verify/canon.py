"""One form for each value, whatever place it was read from, and one number for each row. Pure.

A digest is Python's own hash of the packed values: 64 bits, keyed anew in each process, and a tenth of a microsecond.
It tells rows apart within one run and is never kept: two different rows pass for equal once in 10^19 comparisons.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from engagement_stream.model.change import EventRow
from engagement_stream.model.engagement import Engagement

SOURCE_FIELDS = ("content_id", "user_id", "event_type", "event_ts", "duration_ms", "device", "raw_payload")
"""What the event's own row says."""
JOINED_FIELDS = ("slug", "title", "content_type", "length_seconds", "publish_ts", "engagement_seconds",
                 "engagement_pct", "commit_lsn", "commit_ts", "source")  # fmt: skip
"""What enrich adds."""
CONTENT_FIELDS = JOINED_FIELDS[:7]
"""The part of it that comes from the content: what a backfilled row has to share with the live one."""

_TIMESTAMP = pa.timestamp("us", "UTC")
_pack = msgspec.msgpack.Encoder().encode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode
_EXACT = 1 << 53
_INT64 = 1 << 63

Pair = tuple[int, int]
"""Digest of the source fields, digest of the joined ones."""


def digest(values: object) -> int:
    """A signed 64-bit number; the same for the same values in this process only."""
    return hash(_pack(values))


def text_digest(row: EventRow) -> int:
    """Of a raw row, by its text forms: PostgreSQL and the raw topic have to agree on every character."""
    return digest(
        (row.content_id, row.user_id, row.event_type, row.event_ts, row.duration_ms, row.device, row.raw_payload)
    )


def canonical_json(text: str | None) -> str | None:
    """Keys in order and numbers as doubles can tell them: stores that parse JSON keep no more."""
    if text is None:
        return None
    try:
        value = _decode(text)
        if "." in text or "e" in text or "E" in text or len(text) > 19:
            value = _numbers(value)
        return _encode(value).decode()
    except (msgspec.MsgspecError, OverflowError, RecursionError, ValueError):
        return _by_the_slow_way(text)


def _by_the_slow_way(text: str) -> str:
    try:
        return json.dumps(_numbers(json.loads(text)), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError, OverflowError):
        return text  # not JSON: it can only be equal as it is


def _numbers(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else float(value)
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return value


def microseconds(texts: Sequence[str | None]) -> list[int | None]:
    """ISO 8601 in UTC to microseconds since 1970, a column at a time."""
    return pa.array(texts, pa.string()).cast(_TIMESTAMP).cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]  # untyped upstream


def plain_zero(number: float | None) -> float | None:
    """Minus zero is zero: some stores do not know it."""
    return None if number is None else number or 0.0


def canonical(events: Sequence[Engagement]) -> list[tuple[tuple[object, ...], tuple[object, ...]]]:
    """The two halves of each event (SOURCE_FIELDS, JOINED_FIELDS) as any sink has to hold them."""
    event_us = microseconds([e.event_ts for e in events])
    publish_us = microseconds([e.publish_ts for e in events])
    return [
        (
            (e.content_id, e.user_id, e.event_type, at_us, e.duration_ms, e.device, canonical_json(e.raw_payload)),
            (
                e.slug,
                e.title,
                e.content_type,
                e.length_seconds,
                published_us,
                plain_zero(e.engagement_seconds),
                plain_zero(e.engagement_pct),
                e.position[0],
                e.commit_ts_us,
                e.source,
            ),
        )
        for e, at_us, published_us in zip(events, event_us, publish_us, strict=True)
    ]


def content_digest(joined: Sequence[object]) -> int:
    """Of the CONTENT_FIELDS of a joined half."""
    return hash(_pack(joined[: len(CONTENT_FIELDS)]))


def digests(halves: Iterable[tuple[tuple[object, ...], tuple[object, ...]]]) -> list[Pair]:
    """Of `canonical` rows."""
    return [(hash(_pack(source)), hash(_pack(joined))) for source, joined in halves]

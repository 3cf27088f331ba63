"""Rows in PostgreSQL's binary COPY format: nothing to escape, nothing to parse. Pure.

Source: PostgreSQL documentation, COPY, "Binary Format".
"""

from collections.abc import Iterable
from struct import Struct

from engagement_stream.generate.traffic import Event

COLUMNS = ("content_id", "user_id", "event_type", "event_ts", "duration_ms", "device", "raw_payload")
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_EPOCH_2000_US = 946_684_800_000_000
_NULL = b"\xff\xff\xff\xff"
_COUNT = len(COLUMNS).to_bytes(2)
_UUID = (16).to_bytes(4)
_timestamp = Struct(">iq").pack
_integer = Struct(">ii").pack
_json = Struct(">ib").pack  # jsonb: a version byte (1) before the text


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(4) + data


class _Texts(dict[str | None, bytes]):
    """Few different texts, encoded once each."""

    def __missing__(self, value: str | None) -> bytes:
        field = _NULL if value is None else _text(value)
        if len(self) < 1_000:
            self[value] = field
        return field


_texts = _Texts()


def encode(events: Iterable[Event]) -> bytes:
    """One whole COPY stream."""
    parts = [HEADER]
    add = parts.append
    texts = _texts
    for content_id, user_id, event_type, event_ts_us, duration_ms, device, payload in events:
        add(_COUNT)
        add(_NULL if content_id is None else _UUID + content_id)
        add(_NULL if user_id is None else _UUID + user_id)
        add(texts[event_type])
        add(_timestamp(8, event_ts_us - _EPOCH_2000_US))
        add(_NULL if duration_ms is None else _integer(4, duration_ms))
        add(texts[device])
        add(_NULL if payload is None else _json(len(payload) + 1, 1) + payload)
    add(TRAILER)
    return b"".join(parts)

"""What stands in the place of a raw_payload that is too large to travel. Pure."""

import hashlib

from engagement_stream.capture.pgoutput import Values


def replacement(payload: bytes) -> bytes:
    """Enough to find it in the source and to know it again: JSON of the hash and the size in bytes."""
    return b'{"sha256":"%b","size":%d}' % (hashlib.sha256(payload).hexdigest().encode(), len(payload))


def without_payload(values: Values, payload_at: int) -> Values:
    """The row with its payload replaced; the row itself where there is none."""
    payload = values[payload_at] if payload_at >= 0 else None
    if not isinstance(payload, bytes):
        return values
    return [*values[:payload_at], replacement(payload), *values[payload_at + 1 :]]

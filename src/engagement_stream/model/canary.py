"""The canary: a watermark that carries the time it was sent at, so that each stage can tell how old what it has is.

Other watermarks (a backfill's) have other contents under the same prefix; to all of these functions they are no canary.
"""

import msgspec

from engagement_stream.model.engagement import Watermark

_BEGINS = "canary:"
_decode = msgspec.json.Decoder(Watermark).decode


def canary_text(sent_us: int) -> str:
    """The logical message's content; `sent_us` is the sender's clock, microseconds since 1970."""
    return f"{_BEGINS}{sent_us}"


def canary_sent_us(text: str) -> int | None:
    """When the canary with this content was sent; None for anything else."""
    digits = text.removeprefix(_BEGINS)
    return int(digits) if digits != text and digits.isascii() and digits.isdecimal() else None


def canary_of(value: bytes) -> int | None:
    """The same for an encoded Watermark, as sinks meet it."""
    try:
        return canary_sent_us(_decode(value).watermark)
    except msgspec.MsgspecError:
        return None

"""What no sink could store, and the reasons for which a record is refused. Pure."""

from datetime import datetime
from typing import Final

MALFORMED: Final = "malformed"
UNKNOWN_OP: Final = "unknown op"
TIMESTAMP_OUT_OF_RANGE: Final = "timestamp out of range"
NUMBER_OUT_OF_RANGE: Final = "number out of range"
HISTORY_GONE: Final = "history gone"
CONTENT_UNREADABLE: Final = "content unreadable"
TOO_LARGE: Final = "too large"
DEFECT: Final = "defect"
"""Why a record is refused: few and short, for counting."""

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
_parse_timestamp = datetime.fromisoformat


class Rejected(Exception):
    """This record cannot be enriched or stored; `reason` is one of the above, the message tells the detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def fits_int64(number: int) -> bool:
    """Whether a 64-bit column can hold it; JSON and msgspec know no bounds."""
    return INT64_MIN <= number <= INT64_MAX


def storable_timestamp(text: str) -> bool:
    """Whether every sink can store it: ISO 8601 in UTC with `Z`, a year from 1 to 9999 (no infinity, no BC)."""
    if text[-1:] != "Z" or text[4:5] != "-" or text[10:11] != "T":
        return False
    try:
        _parse_timestamp(text)
    except ValueError:
        return False
    return True

"""PostgreSQL's text forms to JSON, value by value. Pure, and the hottest code of capture.

The session settings that these forms rest on are in `connect.SESSION_SETTINGS`: UTC, ISO dates, shortest exact floats.
"""

from collections.abc import Callable
from typing import Final

import msgspec

ToJson = Callable[[bytes], bytes]
NULL: Final = b"null"

encode_text = msgspec.json.Encoder().encode
_NOT_JSON_NUMBERS: Final = frozenset({b"NaN", b"Infinity", b"-Infinity"})


def text(value: bytes) -> bytes:
    """Any text as a JSON string; raises UnicodeDecodeError for what is not UTF-8 (a SQL_ASCII database)."""
    return encode_text(value.decode())


def plain(value: bytes) -> bytes:
    """What is ASCII without anything to escape, such as a uuid."""
    return b'"%b"' % value


def number(value: bytes) -> bytes:
    """Integers and finite floats stand as they are."""
    return value


def floating(value: bytes) -> bytes:
    return b'"%b"' % value if value in _NOT_JSON_NUMBERS else value


def boolean(value: bytes) -> bytes:
    return b"true" if value == b"t" else b"false"


def instant(value: bytes) -> bytes:
    """Timestamptz to ISO 8601 in UTC: `2025-08-01 12:00:00.5+00` becomes `2025-08-01T12:00:00.5Z`.

    `infinity`, `-infinity` and a trailing ` BC` stay as PostgreSQL has them.
    """
    if value.endswith(b"+00"):
        return b'"%bZ"' % value[:-3].replace(b" ", b"T", 1)
    if value.endswith(b"+00 BC"):
        return b'"%bZ BC"' % value[:-6].replace(b" ", b"T", 1)
    return b'"%b"' % value


def local_time(value: bytes) -> bytes:
    """Timestamp without time zone: the same, without the zone."""
    return b'"%b"' % value.replace(b" ", b"T", 1)


INTEGER_OIDS: Final = frozenset({20, 21, 23})  # int8, int2, int4
UUID_OID: Final = 2950
TIMESTAMPTZ_OID: Final = 1184
_BY_OID: Final[dict[int, ToJson]] = {
    **dict.fromkeys(INTEGER_OIDS, number),
    26: number,  # oid
    16: boolean,
    700: floating,
    701: floating,
    UUID_OID: plain,
    TIMESTAMPTZ_OID: instant,
    1114: local_time,
    1082: plain,  # date
    1083: plain,  # time
    1266: plain,  # timetz
    1700: plain,  # numeric: a string, as Debezium's decimal.handling.mode=string; a JSON number would lose digits
}


def to_json(type_oid: int) -> ToJson:
    """The function for a column's type; unknown types (enums, arrays, json, ...) are their text."""
    return _BY_OID.get(type_oid, text)


def is_text(type_oid: int) -> bool:
    """Whether a column's values become free JSON strings."""
    return to_json(type_oid) is text

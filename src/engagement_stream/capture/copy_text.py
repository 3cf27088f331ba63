"""COPY's text format, a row at a time. Pure. The values are the same text forms that the stream carries."""

import re
from typing import Final

from engagement_stream.capture.pgoutput import Values

_ESCAPES: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


def _unescape(match: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(match[1], match[1])


def copy_row(line: bytes) -> Values:
    """The values of one line, its newline included."""
    if b"\\" in line:
        return [
            value if b"\\" not in value else None if value == b"\\N" else _ESCAPED.sub(_unescape, value)
            for value in line[:-1].split(b"\t")
        ]
    return [*line[:-1].split(b"\t")]

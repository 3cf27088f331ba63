"""The usual row, cut out of an Insert message and converted in one pass: the hottest loop of capture. Pure.

`pgoutput.insert` and `envelope.row_format` do the same in two passes, which take half as long again. They are the long
way, for every row that is not usual, and they tell what is wrong with it.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception reads better with its capital

from engagement_stream.capture.pgoutput import NEW_TUPLE, NULL_VALUE, TEXT_VALUE, Column, Values
from engagement_stream.capture.values import NULL, to_json

_SIZE = Struct("!I").unpack_from

Cut = tuple[list[bytes], Values]
"""The row's values as JSON, and as they are."""


def insert_reader(columns: Sequence[Column]) -> Callable[[bytes], Cut | None]:
    """The function from a whole Insert message of a table to its row; None for what has to go the long way."""
    start_of_row = bytes([NEW_TUPLE]) + len(columns).to_bytes(2, "big")
    converters = [to_json(column.type_oid) for column in columns]

    def read(message: bytes) -> Cut | None:
        cells: list[bytes] = []
        values: Values = []
        if message[5:8] != start_of_row:
            return None
        at = 8
        try:
            for convert in converters:
                kind = message[at]
                if kind == TEXT_VALUE:
                    start = at + 5
                    at = start + _SIZE(message, at + 1)[0]
                    value = message[start:at]
                    values.append(value)
                    cells.append(convert(value))
                elif kind == NULL_VALUE:
                    values.append(None)
                    cells.append(NULL)
                    at += 1
                else:
                    return None
        except (IndexError, StructError, UnicodeDecodeError):
            return None
        return (cells, values) if at == len(message) else None

    return read

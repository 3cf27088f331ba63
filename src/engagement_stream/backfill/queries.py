"""SQL by name: the statements of `queries.sql` and `present.sql`."""

import re
from importlib.resources import files
from typing import LiteralString, cast

_ROOM = files(__package__)
_SOURCE = _ROOM.joinpath("queries.sql").read_text()
QUERIES: dict[str, LiteralString] = {
    match["name"]: cast("LiteralString", match["text"].strip())
    for match in re.finditer(r"-- name: (?P<name>\w+)\n(?P<text>.*?)(?=\n-- name: |\Z)", _SOURCE, re.DOTALL)
}
"""Name -> statement, with psycopg's named parameters."""
PRESENT = _ROOM.joinpath("present.sql").read_text()
"""BigQuery's side of `days`."""

"""SQL by name: the statements of `queries.sql`."""

import re
from importlib.resources import files

_SOURCE = files(__package__).joinpath("queries.sql").read_text()
QUERIES: dict[str, bytes] = {
    match["name"]: match["text"].strip().encode()
    for match in re.finditer(r"-- name: (?P<name>\w+)\n(?P<text>.*?)(?=\n-- name: |\Z)", _SOURCE, re.DOTALL)
}
"""Name -> statement, with psycopg's named parameters."""

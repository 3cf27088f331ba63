"""SQL by name: the statements of a room's `queries.sql`."""

import re
from importlib.resources import files


def queries_of(package: str) -> dict[str, bytes]:
    """Name -> statement, with psycopg's named parameters."""
    source = files(package).joinpath("queries.sql").read_text()
    found = re.finditer(r"-- name: (?P<name>\w+)\n(?P<text>.*?)(?=\n-- name: |\Z)", source, re.DOTALL)
    return {match["name"]: match["text"].strip().encode() for match in found}


QUERIES = queries_of("engagement_stream.capture")

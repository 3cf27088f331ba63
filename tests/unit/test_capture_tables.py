"""Which definitions of the two tables enrichment can live with."""

import pytest

from engagement_stream.capture.pgoutput import Column, Relation
from engagement_stream.capture.tables import table_of
from engagement_stream.errors import Fatal

COLUMNS = (
    Column("id", 20),
    Column("content_id", 2950),
    Column("user_id", 2950),
    Column("event_type", 25),
    Column("event_ts", 1184),
    Column("duration_ms", 23),
    Column("device", 25),
    Column("raw_payload", 3802),
)


def _relation(columns: tuple[Column, ...], name: str = "engagement_events") -> Relation:
    return Relation(1, "public", name, columns)


def test_more_columns_wider_integers_and_other_text_types_are_fine() -> None:
    """A varchar is a text, a bigint an integer, order does not matter."""
    columns = (Column("extra", 1700), Column("device", 1043), Column("duration_ms", 20), *COLUMNS[:5], COLUMNS[7])
    table = table_of(_relation(columns), "engagement", "db")
    assert table is not None
    assert columns[table.id_at].name == "id"
    assert columns[table.content_id_at].name == "content_id"


@pytest.mark.parametrize("dropped", [column.name for column in COLUMNS])
def test_a_dropped_column_is_a_stop_that_names_it(dropped: str) -> None:
    """Silence would fill NULLs in."""
    with pytest.raises(Fatal, match=dropped):
        table_of(_relation(tuple(c for c in COLUMNS if c.name != dropped)), "engagement", "db")


@pytest.mark.parametrize("retyped", [Column("duration_ms", 25), Column("event_ts", 1114), Column("device", 23)])
def test_a_retyped_column_is_a_stop_that_names_it(retyped: Column) -> None:
    """Text instead of a number, a timestamp without its zone, a number instead of text."""
    with pytest.raises(Fatal, match=retyped.name):
        table_of(_relation(tuple(retyped if c.name == retyped.name else c for c in COLUMNS)), "engagement", "db")


def test_other_tables_are_none_of_ours() -> None:
    """A publication may hold more."""
    assert table_of(_relation((), "orders"), "engagement", "db") is None

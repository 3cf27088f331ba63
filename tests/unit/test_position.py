"""Positions: PostgreSQL's spelling of an LSN, there and back."""

from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.model.position import format_lsn, parse_lsn


def test_an_lsn_is_spelled_as_postgresql_does() -> None:
    """The example of PostgreSQL's own documentation."""
    assert format_lsn(parse_lsn("16/B374D848")) == "16/B374D848"


@given(st.integers(0, 2**64 - 1))
def test_every_lsn_comes_back(lsn: int) -> None:
    """64 bits."""
    assert parse_lsn(format_lsn(lsn)) == lsn

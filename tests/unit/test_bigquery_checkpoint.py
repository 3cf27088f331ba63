"""What a checkpoint and a row count say about the true position."""

import pytest

from engagement_stream.errors import Fatal
from engagement_stream.sinks.bigquery.checkpoint import Mark, after_rows, decode_mark, from_table

STREAM = "projects/p/datasets/d/tables/engagement_events/streams/0123456789abcdef"
LOG = [(5, True), (6, False), (7, True), (9, True)]
"""A watermark at 6, a transaction marker at 8."""


def test_a_mark_is_read_as_it_was_written() -> None:
    """And it is small: Kafka takes 4,096 bytes, BigQuery's longest names included."""
    longest = Mark(f"projects/{'p' * 63}/datasets/{'d' * 1024}/tables/engagement_events/streams/{'s' * 200}", 1 << 60)
    assert decode_mark(longest.encode()) == longest
    assert len(longest.encode().encode()) < 4_096


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "{}",
        "null",
        "nonsense",
        '{"v":2,"stream":"a/streams/b","rows":1}',
        '{"v":1,"stream":"a/streams/b","rows":-1}',
        '{"v":1,"stream":"elsewhere","rows":1}',
        '{"v":1,"stream":"a/streams/b","rows":"1"}',
    ],
)
def test_what_is_not_a_mark_of_ours_is_none(metadata: str) -> None:
    """Erased metadata, somebody else's, or of a version we do not know."""
    assert decode_mark(metadata) is None


@pytest.mark.parametrize(("count", "position"), [(10, 5), (11, 6), (12, 8), (13, 10)])
def test_rows_are_counted_in_records_that_make_a_row(count: int, position: int) -> None:
    """Neither watermarks nor markers count."""
    assert after_rows("t[0]", 5, Mark(STREAM, 10), count, LOG) == position


def test_fewer_rows_than_were_acknowledged_halt_the_stage() -> None:
    """Going on would hide a loss."""
    with pytest.raises(Fatal, match="9 rows, but 10 were acknowledged"):
        after_rows("t[0]", 5, Mark(STREAM, 10), 9, LOG)


def test_more_rows_than_the_log_has_records_halt_the_stage() -> None:
    """The topic is not the one that was delivered."""
    with pytest.raises(Fatal, match="1 rows more"):
        after_rows("t[0]", 5, Mark(STREAM, 10), 14, LOG)


@pytest.mark.parametrize(
    ("committed", "last", "begins", "position"),
    [
        (None, None, 0, 0),  # the very beginning
        (None, 41, 0, 42),  # the group's offsets expired
        (40, 41, 30, 42),  # the checkpoint lags
        (50, 41, 30, 50),  # somebody deleted rows: they were delivered all the same
        (50, None, 0, 0),  # a new table gets the whole log
    ],
)
def test_the_table_tells_where_no_stream_can(
    committed: int | None, last: int | None, begins: int, position: int
) -> None:
    """From its greatest offset."""
    assert from_table("t[0]", committed, last, begins, 100) == position


def test_a_new_table_behind_a_trimmed_log_halts_the_stage() -> None:
    """What was trimmed would be missing, and nobody would notice."""
    with pytest.raises(Fatal, match="begins at offset 7"):
        from_table("t[0]", 50, None, 7, 100)


def test_a_table_ahead_of_the_log_halts_the_stage() -> None:
    """The topic was made anew: its offsets mean other records."""
    with pytest.raises(Fatal, match="log ends at 100"):
        from_table("t[0]", None, 100, 0, 100)

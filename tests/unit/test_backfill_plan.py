"""What a backfill decides before it touches anything: dates, days, chunks, whose turn it is."""

import re
import time
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from engagement_stream.backfill.chunks import chunks
from engagement_stream.backfill.dates import day_range
from engagement_stream.backfill.pace import LagClock, Pace
from engagement_stream.backfill.plan import FAST, GENTLE, Cut, Day, Sums, Unit, at_rate, days, units
from engagement_stream.errors import ConfigurationError

TODAY = date(2025, 8, 15)


def test_both_ends_are_included_and_days_are_of_utc() -> None:
    """From the first moment of the first day to the first one after the last day."""
    wanted = day_range("2025-08-01", "2025-08-10", TODAY)
    assert wanted.since == datetime(2025, 8, 1, tzinfo=UTC)
    assert wanted.until == datetime(2025, 8, 11, tzinfo=UTC)
    assert day_range("2025-08-15", "2025-08-15", TODAY).first == TODAY


@pytest.mark.parametrize(
    ("start", "end", "sentence"),
    [
        ("2025-08-10", "2025-08-01", "--end-date 2025-08-01 lies before --start-date 2025-08-10"),
        ("2025-02-30", "2025-08-01", "--start-date '2025-02-30' is no day of the calendar"),
        ("2025-08-01", "yesterday", "--end-date 'yesterday' is not a day: write it as YYYY-MM-DD"),
        ("20250801", "2025-08-02", "--start-date '20250801' is not a day"),
        ("2025-08-01", "2025-08-16", "--end-date 2025-08-16 lies in the future: today is 2025-08-15 in UTC"),
    ],
)
def test_a_bad_range_is_one_sentence(start: str, end: str, sentence: str) -> None:
    """It names the option, what was given and what is wanted."""
    with pytest.raises(ConfigurationError, match=re.escape(sentence)) as caught:
        day_range(start, end, TODAY)
    assert "\n" not in str(caught.value)


def _day(number: int, rows: int, there: int = 0) -> Day:
    return Day(date(2025, 8, number), Sums(rows, rows), Sums(there, there))


def test_small_days_that_follow_each_other_go_together() -> None:
    """Up to what one statement inserts; complete days and gaps part them."""
    planned = [_day(1, 10), _day(2, 20), _day(3, 5, 5), _day(4, 30), _day(6, 40), _day(7, 70), _day(8, 0, 3)]
    found = units(planned, 100)
    assert [(unit.first.day, unit.last.day, unit.rows) for unit in found] == [
        (1, 2, 30),
        (4, 4, 30),
        (6, 6, 40),
        (7, 7, 70),
    ]


def test_a_huge_day_is_not_cut_into_more_than_eight_statements() -> None:
    """Each of them reads the day's ids in the target again."""
    assert units([_day(1, 10_000)], 100) == [Unit(date(2025, 8, 1), date(2025, 8, 1), 10_000, 1_250)]


def test_a_day_of_as_many_other_events_is_not_complete() -> None:
    """The sums of ids tell."""
    (day,) = days({TODAY: Sums(2, 5, 13, 1)}, {TODAY: Sums(2, 5, 17, 5)})
    assert not day.complete
    assert day.missing == 0


def test_chunks_are_bounded_by_rows_and_by_bytes() -> None:
    """Whatever the reader's batches are; no row is lost or moved."""
    batches = [pa.record_batch({"n": pa.array(range(start, start + 70))}) for start in range(0, 700, 70)]
    by_rows = list(chunks(batches, 100, 1 << 30))
    assert max(chunk.num_rows for chunk in by_rows) <= 100
    by_bytes = list(chunks(batches, 1_000, 1_200))
    assert max(chunk.num_rows for chunk in by_bytes) <= 150
    for cut in (by_rows, by_bytes):
        assert [n for chunk in cut for n in chunk.column("n").to_pylist()] == list(range(700))


def test_lag_is_the_age_of_the_oldest_record_not_come_past() -> None:
    """Told by offsets alone, at every rate."""
    clock = LagClock()
    assert clock.lag_s(10.0, {0: 5, 1: 7}, {0: 5, 1: 7}) == 0.0
    assert clock.lag_s(11.0, {0: 9, 1: 7}, {0: 5, 1: 7}) == 0.0
    assert clock.lag_s(12.0, {0: 12, 1: 8}, {0: 8, 1: 7}) == 1.0
    assert clock.lag_s(13.0, {0: 12, 1: 8}, {0: 9, 1: 7}) == 1.0
    assert clock.lag_s(14.0, {0: 12, 1: 8}, {0: 12, 1: 8}) == 0.0
    assert clock.lag_s(15.0, {0: 13}, {0: None}) == 0.0


def test_a_rate_limit_is_held_and_not_by_bursts() -> None:
    """Whoever takes turns never has more rows than the limit allows by then, but for the first turn's."""
    pace = Pace(None, 10_000.0, lambda: False)
    began_s = time.monotonic()
    for turn in range(6):
        pace.turn(1_000)
        assert turn * 1_000 <= (time.monotonic() - began_s) * 10_000 + 1
    assert pace.rested_s > 0.4


def test_a_rate_limit_makes_chunks_small() -> None:
    """Two seconds' worth; but not so small that a statement reads hundreds of tables."""
    assert at_rate(FAST, None) == FAST
    assert at_rate(GENTLE, 20_000.0) == Cut(40_000, GENTLE.loads, GENTLE.rows_per_insert)
    assert at_rate(GENTLE, 1e9) == GENTLE
    assert at_rate(GENTLE, 1.0).chunk_rows == GENTLE.rows_per_insert // 100


def test_after_a_gentle_job_the_target_has_as_long_a_rest() -> None:
    """Live appends that have waited for it come first; who is not gentle goes on at once."""
    pace = Pace(None, None, lambda: False, gentle=True)
    with pace.job():
        began_s = time.monotonic()
        time.sleep(0.2)
        took_s = time.monotonic() - began_s
    ended_s = time.monotonic()
    with pace.job():
        assert time.monotonic() - ended_s >= 0.9 * took_s
    hasty = Pace(None, None, lambda: False)
    for _ in range(2):
        with hasty.job():
            pass
    assert hasty.rested_s == 0.0

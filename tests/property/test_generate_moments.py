"""Schedules: the past has its rhythm and its exact count; the present waits for nobody and forgets nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.generate.population import DAY_US
from engagement_stream.generate.rhythm import even, load, slots
from engagement_stream.generate.schedule import Schedule

MONDAY_US = 1_789_948_800_000_000  # 2026-09-21T00:00Z


@given(start_us=st.integers(0, 2 * 10**15), width_us=st.integers(1, 9 * DAY_US), total=st.integers(0, 3_000))
def test_exactly_as_many_moments_as_asked_for(start_us: int, width_us: int, total: int) -> None:
    """Within the range, never going back; with and without a rhythm."""
    for moments in (
        list(slots(start_us, start_us + width_us, total)),
        list(even(start_us, start_us + width_us, total)),
    ):
        assert len(moments) == total
        assert moments == sorted(moments)
        assert all(start_us <= at_us < start_us + width_us for at_us in moments)


def test_nights_are_quiet_and_weekends_are_not() -> None:
    """The busiest hour has several times the traffic of the quietest; Saturday more than Tuesday."""
    moments = list(slots(MONDAY_US, MONDAY_US + 7 * DAY_US, 200_000))
    by_hour, by_day = [0] * 24, [0] * 7
    for at_us in moments:
        by_hour[at_us // 3_600_000_000 % 24] += 1
        by_day[(at_us - MONDAY_US) // DAY_US] += 1
    assert max(by_hour) > 5 * min(by_hour)
    assert by_hour.index(min(by_hour)) in range(2, 6)
    assert by_day[5] > by_day[1] * 1.1
    assert all(load(MONDAY_US + step) > 0 for step in range(0, 7 * DAY_US, 977_000_000))


def test_months_grow_and_have_seasons() -> None:
    """A year has more than the one before; July less than the Januaries on both sides would make one expect."""
    weeks = [sum(load(MONDAY_US + (7 * week + day) * DAY_US) for day in range(7)) for week in range(120)]
    assert sum(weeks[52:104]) > 1.4 * sum(weeks[:52])
    january, july, next_january = weeks[16], weeks[42], weeks[68]
    assert july < 0.9 * (january * next_january) ** 0.5


@given(
    rate_per_s=st.floats(0.1, 5_000),
    pauses_s=st.lists(st.floats(0, 2), min_size=1, max_size=60),
    limit=st.integers(1, 10_000),
)
def test_a_stalled_writer_changes_when_and_never_what(rate_per_s: float, pauses_s: list[float], limit: int) -> None:
    """However long each write takes, the moments are those of the plan, one after the other, none in the future."""
    schedule, now_s, taken = Schedule(rate_per_s, 100.0), 100.0, []
    for pause_s in pauses_s:
        now_s += pause_s
        moments = schedule.take(now_s, limit)
        assert len(moments) <= limit
        taken += moments
        assert schedule.behind_s(now_s) >= 0
    assert taken == [int((100.0 + number / rate_per_s) * 1_000_000) for number in range(len(taken))]
    assert not taken or taken[-1] <= now_s * 1_000_000 + 1
    while moments := schedule.take(now_s, limit):
        taken += moments
    assert abs(len(taken) - (sum(pauses_s) * rate_per_s + 1)) <= 1


def test_on_schedule_events_gather_for_a_tick_and_late_they_do_not_wait() -> None:
    """1,000 a second are written 20 at a time; 20 a second one at a time; arrears at once."""
    schedule = Schedule(1_000, 0.0)
    schedule.take(0.0, 100)
    assert schedule.wait_s(0.001, 0.02) == pytest.approx(0.019)
    assert schedule.wait_s(5.0, 0.02) == 0.0
    slow = Schedule(20, 0.0)
    slow.take(0.0, 100)
    assert slow.wait_s(0.001, 0.02) == pytest.approx(0.049)

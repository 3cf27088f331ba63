"""Rates and latencies of the last seconds, out of counters."""

import pytest

from engagement_stream.api.live.recent import LATENCY_OVER_S, Recent, latency_of
from engagement_stream.observe.latency import BUCKETS_S

NONE = [0] * (len(BUCKETS_S) + 1)


def counted(bucket: int, times: int) -> list[int]:
    """A histogram with values in one bucket."""
    return [times if i == bucket else 0 for i in range(len(NONE))]


def test_a_rate_needs_two_looks() -> None:
    """And is what came between them."""
    recent = Recent()
    assert recent.records_per_s() is None
    recent.look(0, 100, NONE)
    assert recent.records_per_s() is None
    recent.look(1, 140, NONE)
    assert recent.records_per_s() == 40


def test_a_rate_forgets_what_is_older_than_its_window() -> None:
    """A burst is over when it is over."""
    recent = Recent()
    for at_s in range(30):
        recent.look(at_s, 0 if at_s == 0 else 1_000, NONE)
    assert recent.records_per_s() == 0


def test_a_restarted_process_began_at_zero() -> None:
    """Never a negative rate, never events counted twice."""
    recent = Recent()
    recent.look(0, 500, counted(3, 500))
    recent.look(1, 510, counted(3, 510))
    recent.look(2, 5, counted(3, 5))
    assert recent.records_per_s() == pytest.approx(15 / 2)
    assert recent.buckets()[0] == counted(3, 15)


def test_latency_is_of_the_last_seconds_only() -> None:
    """An hour of good service does not hide a bad minute."""
    recent = Recent()
    recent.look(0, 0, counted(0, 1_000_000))
    recent.look(1, 0, [1_000_000, *counted(9, 10)[1:]])
    counts, over_s = recent.buckets()
    latency = latency_of(counts, over_s)
    assert latency is not None
    assert (latency.count, latency.window_s) == (10, 1)
    assert BUCKETS_S[8] < latency.p50_s < latency.p99_s <= BUCKETS_S[9]
    recent.look(2 + LATENCY_OVER_S, 0, [1_000_000, *counted(9, 10)[1:]])
    recent.look(3 + LATENCY_OVER_S, 0, [1_000_000, *counted(9, 10)[1:]])
    assert latency_of(*recent.buckets()) is None


def test_a_first_look_at_a_process_counts_nothing() -> None:
    """What it did before is not of the last seconds."""
    recent = Recent()
    recent.look(0, 7, counted(1, 7))
    assert latency_of(*recent.buckets()) is None

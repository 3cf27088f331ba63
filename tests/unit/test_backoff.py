"""Back-off: grows, stays under its cap, never becomes a busy loop."""

from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.backoff import Backoff, Patience


@given(attempt=st.integers(0, 10_000), random01=st.floats(0, 1))
def test_a_wait_is_positive_and_never_above_the_cap(attempt: int, random01: float) -> None:
    """However long it goes on."""
    wait_s = Backoff(base_s=0.1, cap_s=30).wait_s(attempt, random01)
    assert 0 < wait_s <= 30


def test_the_longest_wait_doubles_until_the_cap() -> None:
    """With the worst luck: 0.1, 0.2, 0.4 ... 30."""
    backoff = Backoff(base_s=0.1, cap_s=30)
    assert [backoff.wait_s(n, 1.0) for n in (0, 1, 2, 20)] == [0.1, 0.2, 0.4, 30]


def test_patience_grows_with_each_failure_and_begins_anew_after_a_success() -> None:
    """Each wait is at most twice the one before could have been."""
    patience = Patience(Backoff(base_s=1.0, cap_s=8.0))
    for ceiling_s in (1, 2, 4, 8, 8):
        assert 0 < patience.next_wait_s() <= ceiling_s
    assert patience.failures == 5
    patience.begin_anew()
    assert patience.next_wait_s() <= 1

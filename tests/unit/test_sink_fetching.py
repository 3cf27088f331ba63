"""How a sink's consumer asks: for little at once, unless the sink gathers anyway."""

import pytest

from engagement_stream.sinks.base import Gather
from engagement_stream.sinks.runner import fetch_of


@pytest.mark.parametrize("linger_s", [0.0, 0.1])
def test_a_sink_that_does_not_gather_is_answered_at_once(linger_s: float) -> None:
    """And one that hardly does: short waits keep an idle broker busy."""
    assert fetch_of(Gather(5_000, linger_s)) == {}


@pytest.mark.parametrize(("linger_s", "wait_ms"), [(0.2, 100), (1.0, 250), (60.0, 250)])
def test_a_sink_that_gathers_asks_for_much_and_waits_half_of_its_time_at_most(linger_s: float, wait_ms: int) -> None:
    """A quarter of a second is the end of it: the ends of partitions are told by answers, too."""
    asked = fetch_of(Gather(5_000, linger_s))
    assert asked == {"fetch.min.bytes": 1 << 20, "fetch.wait.max.ms": wait_ms}

"""The canary's own text, and what a stage remembers of those that pass."""

import math

import pytest

from engagement_stream.model.canary import canary_of, canary_sent_us, canary_text
from engagement_stream.model.engagement import FORMAT_VERSION, Watermark, encode_enriched
from engagement_stream.observe.canaries import Canaries, CanaryReport


def test_a_canary_says_when_it_was_sent() -> None:
    """The text survives the road."""
    mark = encode_enriched(Watermark(FORMAT_VERSION, canary_text(1_760_000_000_000_001), (9, 0), 1))
    assert canary_of(mark) == 1_760_000_000_000_001


@pytest.mark.parametrize("text", ["", "canary:", "canary:soon", "canary:-1", "backfill:7", "17", "canary:\u0663"])
def test_other_watermarks_are_no_canaries(text: str) -> None:
    """A backfill's marks pass through the same topics."""
    assert canary_sent_us(text) is None
    assert canary_of(encode_enriched(Watermark(FORMAT_VERSION, text, (9, 0), 1))) is None


def test_a_canary_counts_once_the_position_is_past_it_in_every_partition() -> None:
    """Read is not durable; the oldest partition speaks for the stage."""
    canaries = Canaries("unit-a")
    canaries.assigned([0, 1])
    assert canaries.report() is None
    assert math.isnan(canaries.age_s())
    for partition in (0, 1):
        canaries.read(partition, 5, 100)
        canaries.read(partition, 9, 200)
    canaries.durable({0: 5, 1: 5})
    assert canaries.report() is None
    canaries.durable({0: 10, 1: 6})
    assert canaries.report() == CanaryReport(100)
    canaries.durable({1: 10})
    assert canaries.report() == CanaryReport(200)
    assert canaries.age_s() > 1e9


def test_a_partition_that_went_to_another_worker_is_no_longer_ours_to_tell() -> None:
    """What was read of it is read again by whoever has it now."""
    canaries = Canaries("unit-b")
    canaries.assigned([0, 1])
    for partition, sent_us in ((0, 100), (1, 200)):
        canaries.read(partition, 1, sent_us)
    canaries.durable({0: 2, 1: 2})
    canaries.assigned([1])
    assert canaries.report() == CanaryReport(200)
    canaries.assigned([])
    assert canaries.report() is None


def test_capture_tells_how_long_it_has_waited_for_one_to_come_back() -> None:
    """One that came back brings all that were sent before it."""
    now_s = 0.0
    canaries = Canaries("unit-c", clock=lambda: now_s)
    for sent_us in (100, 200, 300):
        canaries.sent(sent_us)
        now_s += 10
    assert canaries.report() == CanaryReport(None, 30.0)
    canaries.passed(200)
    assert canaries.report() == CanaryReport(200, 10.0)
    canaries.given_up()
    assert canaries.report() == CanaryReport(200)

"""What the ledger's answer means: defects before unreadable places, and silence for what is on its way."""

from engagement_stream.verify.explain import fields
from engagement_stream.verify.report import Place, Report, Unreadable
from engagement_stream.verify.topics import Extent, _Since
from engagement_stream.verify.totals import Sum, Totals
from tests.fixtures.engagements import content_id, engagement

_LOST = Unreadable("redis", "it does not answer", "start it")


def _report(place: Place, *lost: Unreadable) -> Report:
    return Report([place], [], list(lost), [], 0.1)


def test_the_exit_code_tells_defects_before_what_cannot_be_read() -> None:
    """A script that sees 1 knows that rows are not right; 2 that nobody knows."""
    assert _report(Place("raw topic", rows=5, in_flight=3, dead_lettered=1, changed_later=2)).exit_code == 0
    assert _report(Place("raw topic"), _LOST).exit_code == 2
    for name in ("missing", "doubled", "wrong"):
        assert _report(Place("raw topic", **{name: 1}), _LOST).exit_code == 1  # type: ignore[arg-type]  # counters


def test_only_the_fields_that_differ_are_shown_and_long_ones_are_cut() -> None:
    """A payload may have megabytes."""
    assert fields({"a": 1, "b": None}, {"a": 1, "b": None}) == ""
    told = fields({"a": 1, "title": "x" * 500}, {"a": 2, "title": None})
    assert told.startswith("a is 2, should be 1; title is None, should be 'xxx")
    assert len(told) < 250


def test_young_enough_is_what_postgresql_says() -> None:
    """Infinities and years that Python does not know included."""
    since = _Since(1_754_006_400_000_000)  # 2025-08-01
    assert since.covers("2025-08-01T00:00:00Z")
    assert not since.covers("2025-07-31T23:59:59.999999Z")
    assert since.covers("infinity")
    assert since.covers("12025-01-01T00:00:00Z")
    assert not since.covers("-infinity")
    assert not since.covers("0044-03-15T00:00:00Z BC")


def test_a_topic_that_lost_records_says_so() -> None:
    """In any partition."""
    assert not Extent("t", (0, 0), (5, 5)).trimmed
    assert Extent("t", (0, 3), (5, 5)).trimmed


def _totals(fence: int, *counters: int) -> Totals:
    from array import array

    held = Sum(fence, array("q", counters), ("Content 1", "content-1", "podcast"))
    whole = Sum(fence, array("q", counters))
    return Totals({0: whole}, {content_id(1): held}, {0: fence})


def test_totals_are_right_up_to_their_fence_whatever_comes_behind_it() -> None:
    """Events behind the fence are in flight."""
    totals = _totals(2, 2, 2, 0, 0, 0, 0, 3_000, 2)
    for offset in range(3):
        totals.take(0, offset, engagement(offset))
    assert list(totals.differences()) == []
    assert (totals.events, totals.behind) == (2, 1)


def test_a_counter_that_is_off_by_one_is_named() -> None:
    """In the content and in the whole; a content that is not there at all is named too."""
    totals = _totals(2, 2, 1, 0, 0, 0, 0, 3_000, 2)
    for offset in range(2):
        totals.take(0, offset, engagement(offset))
    totals.take(0, 1, engagement(7, content=2))
    told = dict(totals.differences())
    assert told[f"content {content_id(1)}"] == "play is 1 too few"
    assert told[f"content {content_id(2)}"] == "is not there, the log has 1 events of it"

"""What the ledger's answer means: defects before unreadable places, and silence for what is on its way."""

from engagement_stream.sinks.redis.fold import COUNTERS
from engagement_stream.verify.explain import fields
from engagement_stream.verify.extent import Extent, merged
from engagement_stream.verify.raw_topic import Since
from engagement_stream.verify.redis_totals import _note, _State
from engagement_stream.verify.report import Place, Report, Unreadable
from engagement_stream.verify.totals import Totals
from tests.fixtures.engagements import content_id, engagement

_LOST = Unreadable("redis", "it does not answer", "start it")


def _report(place: Place, *lost: Unreadable) -> Report:
    return Report([place], [], list(lost), [], 0.1)


def test_the_exit_code_tells_defects_before_what_cannot_be_read() -> None:
    """A script that sees 1 knows that rows are not right; 2 that nobody knows."""
    assert _report(Place("raw topic", rows=5, in_flight=3, dead_lettered=1, changed_later=2)).exit_code == 0
    assert _report(Place("raw topic"), _LOST).exit_code == 2
    for name in ("missing", "doubled", "wrong", "order_breaks"):
        assert _report(Place("raw topic", **{name: 1}), _LOST).exit_code == 1  # type: ignore[arg-type]  # counters


def test_only_the_fields_that_differ_are_shown_and_long_ones_are_cut() -> None:
    """A payload may have megabytes."""
    assert fields({"a": 1, "b": None}, {"a": 1, "b": None}) == ""
    told = fields({"a": 1, "title": "x" * 500}, {"a": 2, "title": None})
    assert told.startswith("a is 2, should be 1; title is None, should be 'xxx")
    assert len(told) < 250


def test_young_enough_is_what_postgresql_says() -> None:
    """Infinities and years that Python does not know included."""
    since = Since(1_754_006_400_000_000)  # 2025-08-01
    assert since.covers("2025-08-01T00:00:00Z")
    assert not since.covers("2025-07-31T23:59:59.999999Z")
    assert since.covers("infinity")
    assert since.covers("12025-01-01T00:00:00Z")
    assert not since.covers("-infinity")
    assert not since.covers("0044-03-15T00:00:00Z BC")


def test_a_topic_that_lost_records_says_so() -> None:
    """In any partition, unless they were read before."""
    assert not Extent("t", (0, 0), (5, 5)).trimmed({})
    assert Extent("t", (0, 3), (5, 5)).trimmed({1: 2})
    assert not Extent("t", (0, 3), (5, 5)).trimmed({1: 3})


def test_what_is_wanted_twice_is_read_once() -> None:
    """New records and those that a stage has come past overlap, or lie far apart; never beyond what the topic holds."""
    assert merged([(5, 9), (0, 3), (2, 4), (9, 10), (7, 7)]) == [(0, 4), (5, 10)]
    held = Extent("t", (3, 0), (8, 5))
    assert held.ranges({0: [(0, 4), (6, 20)], 1: [(5, 9)]}) == {0: [(3, 4), (6, 8)], 1: []}


def _ask(totals: Totals, fence: int, *counters: int, content: bool = True) -> Totals:
    """As if Redis had held this, in one partition with one content."""
    state = _State(fence, "", 0, 0, "", 0, 0, 0)
    held = {name: str(value) for name, value in zip(COUNTERS, counters, strict=True)}
    texts = {"title": "Content 1", "slug": "content-1", "content_type": "podcast"}
    contents = {content_id(1): (state, held | texts)} if content else {}
    _note(totals, 0, state, held, contents, listed=True)
    totals.ends[0] = fence
    return totals


def test_totals_are_right_up_to_their_fence_whatever_comes_behind_it() -> None:
    """Events behind the fence are in flight."""
    totals = _ask(Totals(), 2, 2, 2, 0, 0, 0, 0, 3_000, 2)
    for offset in range(3):
        totals.take(0, offset, engagement(offset))
    assert list(totals.differences()) == []
    assert (totals.events, totals.behind) == (2, 1)


def test_a_counter_that_is_off_by_one_is_named() -> None:
    """In the content and in the whole; a content that is not there at all is named too."""
    totals = _ask(Totals(), 2, 2, 1, 0, 0, 0, 0, 3_000, 2)
    for offset in range(2):
        totals.take(0, offset, engagement(offset))
    totals.take(0, 1, engagement(7, content=2))
    told = dict(totals.differences())
    assert told[f"content {content_id(1)}"] == "play is 1 too few"
    assert told[f"content {content_id(2)}"] == "is not there, the log has 1 events of it"


def test_the_next_round_goes_on_from_the_fence_and_says_nothing_twice() -> None:
    """What was told is taken as it is; what is off since then is new."""
    totals = _ask(Totals(), 2, 2, 1, 0, 0, 0, 0, 3_000, 2)
    for offset in range(3):
        totals.take(0, offset, engagement(offset))
    assert dict(totals.differences())[f"content {content_id(1)}"] == "play is 1 too few"
    totals.settle()
    _ask(totals, 4, 4, 3, 0, 0, 0, 0, 6_000, 4)
    for offset in range(1, 5):
        totals.take(0, offset, engagement(offset))
    assert list(totals.differences()) == []
    assert (totals.events, totals.behind) == (2, 1)
    totals.settle()
    _ask(totals, 4, 4, 3, 0, 0, 0, 0, 6_001, 4)
    assert dict(totals.differences()) == {
        f"content {content_id(1)}": "ms is 1 too many",
        "partition 0": "ms is 1 too many",
    }


def test_a_content_that_vanishes_is_named_although_nothing_new_came() -> None:
    """Redis may lose a key at any time."""
    totals = _ask(Totals(), 2, 2, 2, 0, 0, 0, 0, 3_000, 2)
    for offset in range(2):
        totals.take(0, offset, engagement(offset))
    assert list(totals.differences()) == []
    totals.settle()
    _ask(totals, 2, 2, 2, 0, 0, 0, 0, 3_000, 2, content=False)
    assert dict(totals.differences()) == {f"content {content_id(1)}": "is not there, the log has 2 events of it"}
    totals.settle()
    _ask(totals, 2, 2, 2, 0, 0, 0, 0, 3_000, 2, content=False)
    assert list(totals.differences()) == [], "told once"


def test_a_redis_that_begins_anew_is_folded_from_the_beginning() -> None:
    """It was emptied: what the round before knew of it says nothing any more."""
    totals = _ask(Totals(), 3, 3, 3, 0, 0, 0, 0, 4_500, 3)
    totals.settle()
    assert totals.starts(0) == (3, 0)
    totals.forget(0)
    assert totals.starts(0) == (0, 0)
    _ask(totals, 1, 1, 1, 0, 0, 0, 0, 1_500, 1)
    for offset in range(3):
        totals.take(0, offset, engagement(offset))
    assert list(totals.differences()) == []

"""Order over rounds: what a stage made beyond the position it was asked for is judged once all before it is known."""

from collections.abc import Iterator

import pytest

from engagement_stream.verify.compare import Comparison
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.order import compare_order
from engagement_stream.verify.report import Place
from engagement_stream.verify.settle import begin_round, settle

_CONTENT = 7


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A first round is over: events 1 to 9 are in the raw topic, 1 to 4 are enriched."""
    with Ledger() as ledger:
        _round(ledger, raw=range(1, 10), enriched=range(1, 5), low=0, high=5)
        yield ledger


def _round(ledger: Ledger, *, raw: range, enriched: "range | list[int]", low: int, high: int) -> list[str]:
    """Events whose number is their offset in the raw topic; `enriched` came in this order. Returns the breaks."""
    begin_round(ledger)
    before = ledger.value("select max(last) from seen where place = 'enriched'")
    ledger.put("news", [("raw", 0, raw.start), ("enriched", 0, before + 1)])
    ledger.put("passed", [("enrich", 0, low, high)])
    ledger.add("raw", [(0, i, i, i in raw, _CONTENT, 1, i, 0, i, i) for i in {*raw, *range(low, high)} - {0}])
    ledger.add("enriched", [(0, before + n, i, 1, 1, _CONTENT, 0, i, i, i, i) for n, i in enumerate(enriched, 1)])
    ledger.add("source", [(i, i) for i in raw])
    ledger.index()
    comparison, place = Comparison(ledger), Place("enriched")
    compare_order(comparison, ledger, place, "enriched", "raw-topic")
    settle(ledger, events_topic="raw-topic", enriched_topic="enriched-topic", snapshot_lsn=1_000, trimmed=False)
    return [finding.id for finding in comparison.findings]


def test_a_stage_that_ran_ahead_of_its_position_breaks_no_order(ledger: Ledger) -> None:
    """5 to 9 were read rounds ago and are gone; 10 and 11 are new. All are enriched after the position was asked."""
    assert _round(ledger, raw=range(10, 12), enriched=range(5, 12), low=5, high=5) == []
    assert _round(ledger, raw=range(12, 12), enriched=[], low=5, high=12) == []
    assert ledger.value("select count(*) from enriched") == 0, "what was compared is forgotten"


def test_a_break_among_them_is_told_in_the_round_after(ledger: Ledger) -> None:
    """Once."""
    assert _round(ledger, raw=range(10, 12), enriched=[5, 6, 8, 7, 9, 10, 11], low=5, high=5) == []
    assert _round(ledger, raw=range(12, 12), enriched=[], low=5, high=12) == ["7"]
    assert _round(ledger, raw=range(12, 13), enriched=[12], low=12, high=13) == []

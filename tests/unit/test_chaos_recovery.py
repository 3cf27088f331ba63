"""A stage has recovered when what was committed by the fault's end is durable behind it: along the flow, in order."""

from collections.abc import Mapping

from engagement_stream.chaos.kinds import STAGES
from engagement_stream.chaos.positions import Positions
from engagement_stream.chaos.recovery import Mark


def _seen(wal: int, confirmed: int, raw: int, enriched: int, stages: Mapping[str, int]) -> Positions:
    return Positions(
        wal,
        confirmed,
        {0: raw, 1: raw},
        {0: enriched, 1: enriched},
        {stage: {0: at, 1: at} for stage, at in stages.items()},
    )


def _at(enrich: int = 0, redis: int = 0, bigquery: int = 0, http: int = 0) -> dict[str, int]:
    return {"enrich": enrich, "redis": redis, "bigquery": bigquery, "http": http}


def test_a_mark_is_passed_stage_by_stage() -> None:
    """Each stage is measured at what lay before it when the stage before it had passed."""
    mark = Mark(STAGES, 10.0)
    mark.look(_seen(100, 90, 5, 5, _at(5, 5, 5, 5)), 10.1)
    assert mark.waits_for == list(STAGES)
    mark.look(_seen(200, 120, 7, 5, _at(5, 5, 5, 5)), 11.0)
    assert mark.waits_for == list(STAGES[1:])
    mark.look(_seen(300, 290, 20, 9, _at(7, 8, 9, 9)), 12.0)
    assert mark.waits_for == ["redis"]
    assert mark.took_s() is None
    mark.look(_seen(400, 390, 30, 20, _at(20, 9, 9, 9)), 15.5)
    assert mark.over.is_set()
    assert mark.took_s() == 5.5


def test_a_fault_of_one_sink_does_not_wait_for_the_others() -> None:
    """They may have troubles of their own at the same time."""
    mark = Mark(("http",), 0.0)
    mark.look(_seen(100, 100, 5, 5, _at()), 0.1)
    mark.look(_seen(100, 100, 5, 5, _at(enrich=5, http=5)), 0.5)
    assert mark.took_s() == 0.5


def test_a_stage_is_not_asked_about_those_behind_it() -> None:
    """Capture has recovered although enrich stands still."""
    mark = Mark(("capture",), 0.0)
    mark.look(_seen(100, 90, 5, 5, _at()), 0.1)
    mark.look(_seen(100, 100, 5, 5, _at()), 2.0)
    assert mark.took_s() == 2.0


def test_one_partition_that_hangs_is_not_outvoted() -> None:
    """A stage with several workers has recovered when all of its partitions have."""
    mark = Mark(("enrich",), 0.0)
    mark.look(_seen(1, 1, 5, 5, _at()), 0.0)
    seen = Positions(1, 1, {0: 5, 1: 5}, {0: 5, 1: 5}, {**{s: {} for s in _at()}, "enrich": {0: 99, 1: 4}})
    mark.look(seen, 1.0)
    assert mark.waits_for == ["enrich"]

"""Health is progress: verdicts over looks at injected times."""

from typing import Any

import msgspec
import pytest

from engagement_stream.api.health import (
    HTTP_GUARANTEE,
    Look,
    Memory,
    guarantees,
    judge,
    overall,
    remember,
    stage_of,
)
from engagement_stream.api.models import DependencyHealth, StageHealth
from engagement_stream.observe.status import StatusReport

WALL_S = 1_760_000_000.0
REPORT = StatusReport(
    stage="redis",
    worker=0,
    state="running",
    reason="",
    remedy="",
    since=WALL_S - 100,
    last_progress=WALL_S - 60,
    records=10,
    details={"lag_records": 0},
)
REDIS_UP = DependencyHealth(reachable=True, required=True, reason="")


def report(lag: int | None = None, **changes: Any) -> StatusReport:
    """A running stage with this many records waiting."""
    details = REPORT.details if lag is None else {"lag_records": lag}
    return msgspec.structs.replace(REPORT, details=details, **changes)


def health_after(*looks: tuple[float, StatusReport | None], name: str = "redis") -> StageHealth:
    """The verdict at the last of these looks."""
    memory = Memory()
    look = Look(0.0, None)
    for at_s, seen in looks:
        look = Look(at_s, seen, "" if seen else "nothing answers")
        memory = remember(memory, look)
    return judge(name, look, memory, WALL_S)


def test_a_stage_that_makes_progress_is_healthy_however_far_behind() -> None:
    """A long queue is not a fault while it gets shorter or at least moves."""
    verdict = health_after((0, report(9_000)), (40, report(9_500, records=11)), (80, report(9_900, records=12)))
    assert (verdict.state, verdict.healthy, verdict.lag_records) == ("running", True, 9_900)


def test_an_idle_stage_is_healthy_for_ever() -> None:
    """Nothing waits, so nothing has to move."""
    assert health_after((0, report(0)), (100_000, report(0))).healthy


def test_a_stage_that_does_not_count_its_lag_is_not_accused() -> None:
    """Without a lag there is no evidence of a stall."""
    silent = msgspec.structs.replace(REPORT, details={})
    verdict = health_after((0, silent), (1_000, silent))
    assert verdict.healthy
    assert verdict.lag_records is None


def test_waiting_records_without_progress_are_a_stall_after_thirty_seconds() -> None:
    """Up is not healthy: at 30 s it is given the benefit of the doubt, beyond that it is not."""
    stuck = report(5)
    assert health_after((0, stuck), (30, stuck)).state == "running"
    verdict = health_after((0, stuck), (10, stuck), (31, report(7)))
    assert (verdict.state, verdict.healthy) == ("stalled", False)
    assert verdict.reason == "7 records wait, and none has been made durable for 31 s"
    assert verdict.remedy
    assert verdict.since.timestamp() == pytest.approx(WALL_S - 31)


def test_one_look_is_never_a_stall() -> None:
    """The records may have come a millisecond ago, whenever the last progress was."""
    assert health_after((1_000, report(5, last_progress=WALL_S - 9_999))).healthy


@pytest.mark.parametrize(
    "relief",
    [report(0), report(5, last_progress=WALL_S), report(5, records=0)],
    ids=["lag gone", "progress", "restart"],
)
def test_progress_starts_the_thirty_seconds_anew(relief: StatusReport) -> None:
    """A lag that was worked off once, progress, or a restarted process: the clock begins again."""
    after = msgspec.structs.replace(relief, details={"lag_records": 5})
    assert health_after((0, report(5)), (25, relief), (50, after)).healthy


def test_a_stage_that_hangs_in_a_call_is_stalled_although_its_last_word_was_no_lag() -> None:
    """What it said of its lag is as old as its last word; the same holds after a restart of the API."""
    mute = report(0, told=WALL_S - 500)
    assert health_after((0, mute), (30, mute)).healthy
    verdict = health_after((0, mute), (31, mute))
    assert (verdict.state, verdict.reason) == ("stalled", "it has said nothing for 31 s: a call to the outside hangs")
    assert health_after((0, mute), (31, report(0, told=WALL_S))).healthy
    assert health_after((0, mute), (20, None), (45, mute), (50, mute)).healthy


def test_silence_starts_the_thirty_seconds_anew() -> None:
    """Nobody knows what a stage did while it did not answer."""
    assert health_after((0, report(5)), (20, None), (40, report(5)), (60, report(5))).healthy


def test_a_stage_that_waits_keeps_its_own_words() -> None:
    """Its reason says more than `stalled` would."""
    waiting = report(5, state="waiting", reason="Redis does not answer")
    verdict = health_after((0, waiting), (99, waiting))
    assert (verdict.state, verdict.healthy, verdict.reason) == ("waiting", False, "Redis does not answer")


def test_a_stage_that_does_not_answer_is_unreachable_since_its_first_silence() -> None:
    """What was known of it before is kept: its worker, its last progress."""
    verdict = health_after((0, report(0, worker=3)), (10, None), (25, None))
    assert (verdict.state, verdict.reason, verdict.worker) == ("unreachable", "nothing answers", 3)
    assert verdict.since.timestamp() == pytest.approx(WALL_S - 15)
    assert verdict.last_progress is not None
    assert verdict.last_progress.timestamp() == pytest.approx(WALL_S - 60)


def test_a_stage_that_comes_back_is_healthy_at_once() -> None:
    """It appears, disappears, appears."""
    assert health_after((0, None), (10, report(0)), (20, None), (30, report(0))).healthy


@pytest.mark.parametrize(
    ("before", "after", "rate"), [(10, 110, 50.0), (100, 20, 10.0), (10, 10, 0.0)], ids=["up", "restart", "idle"]
)
def test_a_rate_is_what_came_between_two_looks(before: int, after: int, rate: float) -> None:
    """After a restart the counter began at zero."""
    memory = remember(remember(Memory(), Look(0, report(records=before))), Look(2, report(records=after)))
    assert memory.records_per_s == rate


def verdicts(**states: str) -> dict[str, StageHealth]:
    """One process per name, in this state."""
    return {
        name.replace("_", "-"): judge(
            name, Look(0, None if state == "unreachable" else report(state=state)), Memory(), WALL_S
        )
        for name, state in states.items()
    }


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({"capture": "running", "enrich": "running", "redis": "running"}, "ok"),
        ({"capture": "running", "enrich": "starting", "redis": "running"}, "degraded"),
        ({"capture": "waiting", "enrich": "running", "redis": "running"}, "degraded"),
        ({"capture": "running", "enrich": "running", "redis": "halted", "http": "running"}, "degraded"),
        ({"capture": "running", "enrich": "running", "redis": "halted", "http": "unreachable"}, "down"),
        ({"capture": "halted", "enrich": "running", "redis": "running"}, "down"),
        ({"capture": "running", "enrich_0": "unreachable", "enrich_1": "running", "redis": "running"}, "degraded"),
        ({"capture": "running", "enrich_0": "unreachable", "enrich_1": "halted", "redis": "running"}, "down"),
        ({}, "down"),
    ],
)
def test_the_pipeline_is_down_when_nothing_gets_through_and_degraded_when_something_does_not(
    states: dict[str, str], status: str
) -> None:
    """One word for the whole."""
    assert overall(verdicts(**states), {"redis": REDIS_UP})[0] == status


def test_the_reason_names_every_stage_that_is_not_well() -> None:
    """One sentence a person can act on."""
    _, sentence = overall(verdicts(capture="running", redis="halted", http="starting"), {})
    assert sentence == "redis is halted; http is starting."


def test_redis_out_of_reach_counts_only_where_something_needs_it() -> None:
    """Without a Redis sink there is nothing to read there."""
    stages = verdicts(capture="running", enrich="running", http="running")
    away = DependencyHealth(reachable=False, required=True, reason="Redis is away")
    assert overall(stages, {"redis": away}) == ("degraded", "Redis is away.")
    assert overall(stages, {"redis": away.model_copy(update={"required": False})})[0] == "ok"


def test_each_sink_says_what_it_promises() -> None:
    """The label of HTTP is honest, and switching transactions off takes every exactly-once away."""
    stages = ["capture", "enrich", "redis", "bigquery", "http"]
    assert guarantees(stages, exactly_once=True) == {
        "redis": "exactly once",
        "bigquery": "exactly once",
        "http": HTTP_GUARANTEE,
    }
    assert set(guarantees(stages, exactly_once=False).values()) == {"at least once"}
    assert guarantees(["capture", "http"], exactly_once=True) == {"http": HTTP_GUARANTEE}


def test_a_worker_belongs_to_its_stage() -> None:
    """`enrich-1` is an `enrich`."""
    assert [stage_of(name) for name in ("enrich-1", "enrich", "redis-12")] == ["enrich", "enrich", "redis"]

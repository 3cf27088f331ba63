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
    upstream_canary,
)
from engagement_stream.api.models import DependencyHealth, StageHealth
from engagement_stream.observe.canaries import CanaryReport
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


def test_waiting_records_without_progress_are_a_stall_after_a_while() -> None:
    """Up is not healthy: at 22 s it is given the benefit of the doubt, beyond that it is not."""
    stuck = report(5)
    assert health_after((0, stuck), (22, stuck)).state == "running"
    verdict = health_after((0, stuck), (10, stuck), (26, report(7)))
    assert (verdict.state, verdict.healthy) == ("stalled", False)
    assert verdict.reason == "7 records wait, and none has been made durable for 26 s"
    assert verdict.remedy
    assert verdict.since.timestamp() == pytest.approx(WALL_S - 26)


def test_one_look_is_never_a_stall() -> None:
    """The records may have come a millisecond ago, whenever the last progress was."""
    assert health_after((1_000, report(5, last_progress=WALL_S - 9_999))).healthy


@pytest.mark.parametrize(
    "relief",
    [report(0), report(5, last_progress=WALL_S), report(5, records=0)],
    ids=["lag gone", "progress", "restart"],
)
def test_progress_starts_the_clock_anew(relief: StatusReport) -> None:
    """A lag that was worked off once, progress, or a restarted process: the clock begins again."""
    after = msgspec.structs.replace(relief, details={"lag_records": 5})
    assert health_after((0, report(5)), (20, relief), (41, after)).healthy


def test_a_stage_that_hangs_in_a_call_is_stalled_although_its_last_word_was_no_lag() -> None:
    """What it said of its lag is as old as its last word; the same holds after a restart of the API."""
    mute = report(0, told=WALL_S - 500)
    assert health_after((0, mute), (22, mute)).healthy
    verdict = health_after((0, mute), (26, mute))
    assert (verdict.state, verdict.reason) == ("stalled", "it has said nothing for 26 s: a call to the outside hangs")
    assert health_after((0, mute), (26, report(0, told=WALL_S))).healthy
    assert health_after((0, mute), (20, None), (45, mute), (50, mute)).healthy


def test_a_stage_tells_itself_how_long_it_has_been_silent() -> None:
    """So that a hang is seen at the first look after it, however rarely anybody looks."""
    mute = report(0, told=WALL_S - 27, told_s_ago=27.0)
    assert health_after((0, mute)).reason == "it has said nothing for 27 s: a call to the outside hangs"


def canary(sent_s: float, waiting_s: float | None = None) -> CanaryReport:
    """The newest canary behind a stage was sent so many seconds after WALL_S."""
    return CanaryReport(int((WALL_S + sent_s) * 1e6), waiting_s)


def test_a_canary_that_left_the_stage_before_and_does_not_come_through_is_a_stall() -> None:
    """The stage runs, speaks and believes that nothing waits for it."""
    own, upstream_us = report(0, canary=canary(0)), int((WALL_S + 10) * 1e6)
    memory = remember(Memory(), Look(0, own), upstream_us - 10_000_000)
    for at_s in (10, 20, 30, 36):
        look = Look(at_s, msgspec.structs.replace(own, told=WALL_S + at_s))
        memory = remember(memory, look, upstream_us + at_s)  # newer ones do not make the first one younger
    assert judge("redis", look, memory, WALL_S).reason == (
        "a canary left the stage before 26 s ago and has not come through this one"
    )
    through = Look(37, report(0, canary=canary(11), told=WALL_S + 37))
    assert judge("redis", through, remember(memory, through, upstream_us), WALL_S).healthy


def test_a_stage_that_works_off_a_backlog_may_let_the_canary_wait() -> None:
    """It makes records durable all the while: behind is not stalled."""
    memory = Memory()
    for at_s in range(0, 200, 10):
        look = Look(at_s, report(9_000, canary=canary(0), records=at_s, told=WALL_S + at_s))
        memory = remember(memory, look, int((WALL_S + 10) * 1e6))
        assert judge("redis", look, memory, WALL_S).healthy


def test_without_a_canary_of_its_own_a_stage_is_not_accused() -> None:
    """After a restart it stands behind the last one, which will not come again; so does everything without canaries."""
    for own in (None, CanaryReport(None)):
        memory = Memory()
        for at_s in range(0, 200, 10):
            look = Look(at_s, report(0, canary=own, told=WALL_S + at_s))
            memory = remember(memory, look, int(WALL_S * 1e6))
            assert judge("redis", look, memory, WALL_S).healthy


def test_a_canary_that_does_not_come_back_from_postgresql_is_a_stall_of_capture() -> None:
    """The slot delivers nothing, whatever the session looks like."""
    memory = Memory()
    for at_s in (0, 10, 20, 30):
        waits = report(canary=canary(-10, waiting_s=float(at_s)), told=WALL_S + at_s)
        look = Look(at_s, waits)
        memory = remember(memory, look)
    verdict = judge("capture", look, memory, WALL_S)
    assert verdict.state == "stalled"
    assert verdict.reason.startswith("a canary sent into PostgreSQL 30 s ago has not come back")


def test_the_canary_to_wait_for_is_what_every_worker_of_the_stage_before_let_through() -> None:
    """Capture waits for nobody; enrich for capture; a sink for the slowest worker of enrich."""
    reports = {
        "capture": report(canary=canary(30)),
        "enrich-0": report(canary=canary(20)),
        "enrich-1": report(canary=canary(10)),
        "redis": None,
    }
    assert upstream_canary("capture", reports) is None
    assert upstream_canary("enrich-1", reports) == int((WALL_S + 30) * 1e6)
    assert upstream_canary("redis", reports) == int((WALL_S + 10) * 1e6)
    assert upstream_canary("redis", {"enrich": report()}) is None


def test_silence_starts_the_clock_anew() -> None:
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

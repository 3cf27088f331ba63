"""What is wrong, the worst first, each with its remedy: pure."""

from collections.abc import Mapping, Sequence

from engagement_stream.api.live.models import StageLive, Trouble, TroubleKind
from engagement_stream.api.models import DependencyHealth, StageHealth

PROMISES_S = {"redis": 0.1, "bigquery": 3.0, "http": 1.0}
"""Sink -> what p99 of commit to visible promises to stay below."""

_WORST_FIRST: tuple[TroubleKind, ...] = (
    "no_stages",
    "halted",
    "degraded",
    "unreachable",
    "stalled",
    "waiting",
    "no_redis",
    "starting",
    "stopping",
    "late",
)
LATE_AFTER_S = 30.0
"""A promise that is not kept for so long is told; a burst is over by then."""
_ENOUGH_EVENTS = 20
"""Fewer in the window say nothing about a p99."""


def is_late(stage: StageLive) -> bool:
    """Whether its promise is not kept at the moment."""
    latency, promise_s = stage.latency, stage.promise_s
    if latency is None or promise_s is None:
        return False
    return latency.count >= _ENOUGH_EVENTS and latency.p99_s > promise_s


def troubles(
    health: Mapping[str, StageHealth],
    dependencies: Mapping[str, DependencyHealth],
    late: Sequence[StageLive] = (),
) -> list[Trouble]:
    """Process by process, then what concerns the whole, then the stages that have been late for a while."""
    found = [_of_process(name, process) for name, process in health.items() if not process.healthy]
    if not health:
        remedy = "Set STAGE_ENDPOINTS, or start everything with ./start.sh."
        found.append(Trouble(kind="no_stages", stage="", sentence="No stage is known.", remedy=remedy))
    away = [d for d in dependencies.values() if d.required and not d.reachable]
    found += [Trouble(kind="no_redis", stage="redis", sentence=f"{d.reason}.", remedy="See REDIS_URL.") for d in away]
    found += [_late(stage) for stage in late]
    return sorted(found, key=lambda trouble: _WORST_FIRST.index(trouble.kind))


def _of_process(name: str, process: StageHealth) -> Trouble:
    assert process.state != "running"
    reason = f": {process.reason}" if process.reason else ""
    remedy = process.remedy
    if process.state == "waiting" and not remedy:
        remedy = "It goes on by itself as soon as the other side answers."
    return Trouble(kind=process.state, stage=name, sentence=f"{name} is {process.state}{reason}.", remedy=remedy)


def _late(stage: StageLive) -> Trouble:
    assert stage.latency is not None
    p99_s, promise_s = stage.latency.p99_s, stage.promise_s
    return Trouble(
        kind="late",
        stage=stage.stage,
        sentence=f"{stage.stage} is slower than promised: p99 {p99_s:.2f} s instead of {promise_s:g} s.",
        remedy="See whether its lag falls: after a pause or a burst it catches up by itself.",
    )

"""From what the stages say to one verdict: pure, with every time passed in.

Health is progress: a stage that runs while records wait for it, and makes none of them durable, is `stalled`
within 30 s; so is one that says nothing any more, since what it said of its lag is as old, and one that does not let
through the canary that came out of the stage before it. An idle pipeline has nothing waiting, says so, and is healthy.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from engagement_stream.api.models import DependencyHealth, Overall, StageHealth, StageState
from engagement_stream.observe.status import StatusReport

STALLED_AFTER_S = 22.0
"""Longer than any back-off-free pause of a healthy stage (a call to Kafka ends within 20 s, one way or the other).

What is noticed at the next look after it is told within 30 s.
"""
_RATE_OVER_AT_LEAST_S = 0.5
_UPSTREAM = ("capture", "enrich")
BESIDE = ("verify",)
"""Looks at the flow and is no part of it."""
_BLOCKED = frozenset({"halted", "unreachable"})

HTTP_GUARANTEE = "at least once, with everything the receiver needs to make the effect exactly once"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one process; `at_s` is monotonic. Without a report, `why` says what came instead."""

    at_s: float
    report: StatusReport | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """What has to be known of the looks before this one."""

    report: StatusReport | None = None
    """The last one that arrived."""
    report_at_s: float = 0.0
    silent_since_s: float | None = None
    """No answer since then; None while it answers."""
    behind_since_s: float | None = None
    """Records have been waiting since then and none was made durable; None when nothing waits."""
    told_at_s: float = 0.0
    """When it was last seen to say something new; every stage does so each ten seconds at least."""
    progressed_at_s: float = 0.0
    """When it was last seen to have made something durable."""
    awaited_us: int | None = None
    """The canary that has left the stage before and is not behind this one, by the time it was sent."""
    awaited_since_s: float = 0.0
    records_per_s: float | None = None
    """Between the last two reports."""


def upstream_canary(name: str, reports: Mapping[str, StatusReport | None]) -> int | None:
    """The newest canary that every worker of the stage before this one has let through; None where none is known."""
    stage = stage_of(name)
    if stage == "capture":
        return None
    source = "capture" if stage == "enrich" else "enrich"
    sent = [_canary_us(report) for other, report in reports.items() if stage_of(other) == source]
    known = [sent_us for sent_us in sent if sent_us is not None]
    return min(known) if known else None


def remember(before: Memory, look: Look, upstream_us: int | None = None) -> Memory:
    """The memory after one more look. `upstream_us`: see `upstream_canary`, of the same moment."""
    report = look.report
    if report is None:
        silent_since_s = look.at_s if before.silent_since_s is None else before.silent_since_s
        return Memory(before.report, before.report_at_s, silent_since_s)
    progressed = _progressed(before.report, report)
    behind_since_s = before.behind_since_s
    if not lag_records(report):
        behind_since_s = None
    elif behind_since_s is None or progressed:
        behind_since_s = look.at_s
    told_at_s = before.told_at_s
    if before.report is None or before.silent_since_s is not None or before.report.told != report.told:
        told_at_s = look.at_s
    awaited_us, awaited_since_s = _awaited(before, _canary_us(report), upstream_us, look.at_s)
    return Memory(
        report=report,
        report_at_s=look.at_s,
        silent_since_s=None,
        behind_since_s=behind_since_s,
        told_at_s=told_at_s,
        progressed_at_s=look.at_s if progressed else before.progressed_at_s,
        awaited_us=awaited_us,
        awaited_since_s=awaited_since_s,
        records_per_s=_rate(before, report, look.at_s),
    )


def judge(name: str, look: Look, memory: Memory, wall_s: float) -> StageHealth:
    """What /health says about one process; `memory` already contains `look`, `wall_s` is the present time."""
    report = look.report
    if report is None:
        silent_s = look.at_s - (look.at_s if memory.silent_since_s is None else memory.silent_since_s)
        last = memory.report
        return StageHealth(
            stage=stage_of(name),
            worker=last.worker if last else None,
            state="unreachable",
            healthy=False,
            reason=look.why,
            remedy=f"See whether the process runs and what its log says; STAGE_ENDPOINTS has to name where {name} is.",
            since=_time(wall_s - silent_s),
            last_progress=_time(last.last_progress) if last and last.last_progress else None,
            records=None,
            lag_records=None,
            canary_age_s=None,
            details={},
        )
    state: StageState = report.state
    reason, remedy, since_s = report.reason, report.remedy, report.since
    if state == "running" and (stall := _stall(look, report, memory)):
        state, reason = "stalled", stall[0]
        since_s = wall_s - stall[1]
        remedy = "See the stage's log; restarting it is safe, it goes on from its durable position."
    return StageHealth(
        stage=report.stage,
        worker=report.worker,
        state=state,
        healthy=state == "running",
        reason=reason,
        remedy=remedy,
        since=_time(since_s),
        last_progress=_time(report.last_progress) if report.last_progress else None,
        records=report.records,
        lag_records=lag_records(report),
        canary_age_s=canary_age_s(report, wall_s),
        details=report.details,
    )


def overall(stages: Mapping[str, StageHealth], dependencies: Mapping[str, DependencyHealth]) -> tuple[Overall, str]:
    """The one word and its sentence. `down`: nothing can arrive anywhere; `degraded`: something does not."""
    if not stages:
        return "down", "No stage is known: STAGE_ENDPOINTS is empty."
    wrong = [
        f"{name} is {health.state}" + (f" ({health.reason})" if health.reason else "")
        for name, health in stages.items()
        if not health.healthy
    ] + [health.reason for health in dependencies.values() if health.required and not health.reachable]
    if not wrong:
        return "ok", "Every stage runs and makes progress, or has nothing to do."
    sentence = "; ".join(wrong) + "."
    return ("down" if _nothing_gets_through(stages) else "degraded"), sentence


def guarantees(stages: Sequence[str], *, exactly_once: bool) -> dict[str, str]:
    """Sink -> what it promises, in honest words."""
    promises = {"redis": "exactly once", "bigquery": "exactly once", "http": HTTP_GUARANTEE}
    sinks = [stage for stage in promises if stage in stages]
    return {sink: promises[sink] if exactly_once else "at least once" for sink in sinks}


def stage_of(name: str) -> str:
    """`enrich-1` is a worker of `enrich`."""
    return re.sub(r"-\d+$", "", name)


def lag_records(report: StatusReport) -> int | None:
    """Records that wait for this stage; None where it does not count them."""
    lag = report.details.get("lag_records")
    return int(lag) if isinstance(lag, int | float) else None


def canary_age_s(report: StatusReport, wall_s: float) -> float | None:
    """Since the newest canary behind the stage was sent, by the API's clock and the sender's."""
    sent_us = _canary_us(report)
    return None if sent_us is None else max(wall_s - sent_us / 1e6, 0.0)


def _stall(look: Look, report: StatusReport, memory: Memory) -> tuple[str, float] | None:
    """The sentence, and for how many seconds already."""
    behind_s = 0.0 if memory.behind_since_s is None else look.at_s - memory.behind_since_s
    if behind_s > STALLED_AFTER_S:
        return f"{lag_records(report)} records wait, and none has been made durable for {behind_s:.0f} s", behind_s
    mute_s = max(look.at_s - memory.told_at_s, report.told_s_ago or 0.0)
    speaks = lag_records(report) is not None or report.canary is not None
    if mute_s > STALLED_AFTER_S and report.told is not None and speaks:
        return f"it has said nothing for {mute_s:.0f} s: a call to the outside hangs", mute_s
    quiet_s = look.at_s - memory.progressed_at_s
    if quiet_s <= STALLED_AFTER_S:
        return None
    away_s = (report.canary.waiting_s or 0.0) if report.canary else 0.0
    if away_s > STALLED_AFTER_S:
        why = "the replication slot delivers nothing, or PostgreSQL is still decoding a very large transaction"
        return f"a canary sent into PostgreSQL {away_s:.0f} s ago has not come back: {why}", away_s
    awaited_s = 0.0 if memory.awaited_us is None else look.at_s - memory.awaited_since_s
    if awaited_s > STALLED_AFTER_S:
        return f"a canary left the stage before {awaited_s:.0f} s ago and has not come through this one", awaited_s
    return None


def _awaited(before: Memory, own_us: int | None, upstream_us: int | None, at_s: float) -> tuple[int | None, float]:
    """The canary to wait for, and since when: the one awaited already, until it has come through."""
    if own_us is None or upstream_us is None:  # it has only begun: what came before it will not come again
        return None, 0.0
    if before.silent_since_s is None and before.awaited_us is not None and own_us < before.awaited_us:
        return before.awaited_us, before.awaited_since_s
    return (upstream_us, at_s) if own_us < upstream_us else (None, 0.0)


def _canary_us(report: StatusReport | None) -> int | None:
    return report.canary.sent_us if report is not None and report.canary is not None else None


def _nothing_gets_through(stages: Mapping[str, StageHealth]) -> bool:
    workers: dict[str, list[bool]] = {}
    for name, health in stages.items():
        workers.setdefault(stage_of(name), []).append(health.state in _BLOCKED)
    blocked = {stage for stage, states in workers.items() if all(states)}
    sinks = set(workers) - {*_UPSTREAM, *BESIDE}
    return any(stage in blocked for stage in _UPSTREAM) or (bool(sinks) and sinks <= blocked)


def _progressed(before: StatusReport | None, now: StatusReport) -> bool:
    return before is None or (before.last_progress, before.records) != (now.last_progress, now.records)


def _rate(before: Memory, report: StatusReport, at_s: float) -> float | None:
    over_s = at_s - before.report_at_s
    if before.report is None or over_s < _RATE_OVER_AT_LEAST_S:
        return before.records_per_s
    restarted = report.records < before.report.records
    return (report.records - (0 if restarted else before.report.records)) / over_s


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

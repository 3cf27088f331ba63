"""From processes to stages: workers of one stage are one line. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import TypeVar

from engagement_stream.api.health import BESIDE, guarantees, stage_of
from engagement_stream.api.live.models import SourceLive, StageLive
from engagement_stream.api.live.recent import Recent, latency_of
from engagement_stream.api.live.troubles import PROMISES_S
from engagement_stream.api.models import StageHealth, StageState
from engagement_stream.observe.status import StatusReport

N = TypeVar("N", int, float)

ORDER = ("capture", "enrich", "redis", "bigquery", "http")
_WORST_FIRST: tuple[StageState, ...] = (
    "halted",
    "degraded",
    "unreachable",
    "stalled",
    "waiting",
    "starting",
    "stopping",
    "running",
)


def live_stages(
    health: Mapping[str, StageHealth],
    reports: Mapping[str, StatusReport | None],
    recent: Mapping[str, Recent],
    now: datetime,
    *,
    exactly_once: bool,
) -> list[StageLive]:
    """One a stage, in the order of the flow."""
    promises = guarantees([stage_of(name) for name in health], exactly_once=exactly_once)
    flow = (name for name in health if stage_of(name) not in BESIDE)
    names = sorted(flow, key=lambda name: (_place(stage_of(name)), stage_of(name), name))
    return [
        _stage(stage, [(health[name], reports.get(name), recent.get(name)) for name in workers], now, promises)
        for stage, workers in groupby(names, key=stage_of)
    ]


def source_of(reports: Mapping[str, StatusReport | None]) -> SourceLive:
    """PostgreSQL as the first capture process tells of it."""
    report = next((r for name, r in reports.items() if r is not None and stage_of(name) == "capture"), None)
    details = report.details if report else {}
    lag = details.get("slot_lag_bytes")
    return SourceLive(
        phase=str(details.get("phase", "")),
        lsn=str(details.get("lsn", "")),
        slot_lag_bytes=int(lag) if isinstance(lag, int | float) else None,
    )


def _stage(
    stage: str,
    workers: Sequence[tuple[StageHealth, StatusReport | None, Recent | None]],
    now: datetime,
    promises: Mapping[str, str],
) -> StageLive:
    health = [worker for worker, _, _ in workers]
    reports = [report for _, report, _ in workers if report is not None]
    recent = [counters for _, report, counters in workers if report is not None and counters is not None]
    windows = [counters.buckets() for counters in recent]
    counts = [sum(bucket) for bucket in zip(*(counts for counts, _ in windows), strict=True)]
    progressed = [worker.last_progress for worker in health if worker.last_progress is not None]
    return StageLive(
        stage=stage,
        workers=len(health),
        state=min((worker.state for worker in health), key=_WORST_FIRST.index),
        records=_sum([worker.records for worker in health]),
        records_per_s=_sum([counters.records_per_s() for counters in recent]),
        lag_records=_sum([worker.lag_records for worker in health]),
        canary_age_s=max((w.canary_age_s for w in health if w.canary_age_s is not None), default=None),
        last_progress_s=max((now - max(progressed)).total_seconds(), 0.0) if progressed else None,
        latency=latency_of(counts, max(over_s for _, over_s in windows)) if windows else None,
        promise_s=PROMISES_S.get(stage),
        guarantee=promises.get(stage, ""),
        dead_letters=sum(report.dead_letters for report in reports),
        retries=sum(report.retries for report in reports),
    )


def _place(stage: str) -> int:
    return ORDER.index(stage) if stage in ORDER else len(ORDER)


def _sum(values: Sequence[N | None]) -> N | None:
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None

"""Commit-to-durable latency of each sink at a steady open-loop rate, out of the stages' own histograms."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from engagement_stream.bench.observer import Observer
from engagement_stream.bench.quantile import added, quantile_s
from engagement_stream.bench.rig import Rig, StageProcess, stop_process

SINKS = ("redis", "bigquery", "http")
_PERCENTS = (1, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9)


@dataclass(frozen=True, slots=True)
class LatencyFigure:
    """From PostgreSQL's commit timestamp to the sink's durable receipt, in seconds."""

    sink: str
    events: int
    p50_s: float
    p90_s: float
    p99_s: float
    parts_s: dict[str, float] = field(default_factory=dict)
    """Quantile (a percentage) -> seconds, for the shape of the distribution."""


def measure_latency(rig: Rig, rate_per_s: float, seconds: float, tell: Callable[[str], None]) -> list[LatencyFigure]:
    """All stages running; the first ten seconds warm up and do not count."""
    with rig.stages("capture", "enrich", *SINKS) as running:
        traffic = rig.generate("continuous", "--rate", f"{rate_per_s:g}", "--fixed-content")
        try:
            tell("warming up for 10 s ...")
            time.sleep(10)
            before = {name: running[name].latency_buckets() for name in SINKS}
            tell(f"{rate_per_s:,.0f} events/s for {seconds:.0f} s ...")
            observer = Observer(rig.settings)
            observer.start()
            time.sleep(seconds)
            figures = [_figure(name, before[name], running[name]) for name in SINKS]
            observer.stop()
            return [*figures, _observed(observer)]
        finally:
            stop_process(traffic)


def _observed(observer: Observer) -> LatencyFigure:
    seconds = sorted(observer.seconds) or [float("nan")]
    at = {f"{p:g}": seconds[min(int(len(seconds) * p / 100), len(seconds) - 1)] for p in _PERCENTS}
    return LatencyFigure("redis, seen from outside", len(observer.seconds), at["50"], at["90"], at["99"], at)


def _figure(name: str, before: dict[float, float], stage: StageProcess) -> LatencyFigure:
    gained = added(before, stage.latency_buckets())
    return LatencyFigure(
        name,
        int(gained[float("inf")]),
        quantile_s(gained, 0.5),
        quantile_s(gained, 0.9),
        quantile_s(gained, 0.99),
        {f"{percent:g}": quantile_s(gained, percent / 100) for percent in _PERCENTS},
    )

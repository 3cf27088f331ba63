"""How fast each stage works off a backlog, what an event costs it, and what the whole chain sustains."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from engagement_stream.bench.rig import Rig, StageProcess, stop_process, wait_for

_LIMIT_S = 600.0
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StageFigure:
    """One stage working off a backlog alone."""

    stage: str
    events: int
    seconds: float
    cpu_us_per_event: float
    rss_mb: float

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds


def measure_stages(rig: Rig, events: int, tell: Tell) -> list[StageFigure]:
    """Each stage in turn on the same backlog of `events`, with nothing else running but the servers."""
    with rig.stages("capture") as running:  # makes the slot, so that the backlog comes by the stream
        wait_for(lambda: _streaming(running["capture"].status()), 60.0, "capture to stream")
    tell(f"writing {events:,} events into PostgreSQL ...")
    started_s = time.monotonic()
    writer = rig.generate("historical", "--historical-days", "7", "--rows", str(events))
    if writer.wait(_LIMIT_S) != 0:
        raise RuntimeError("the generator failed; see its log")
    tell(f"  written at {events / (time.monotonic() - started_s):,.0f} rows/s")
    figures = []
    for name in ("capture", "enrich", "redis", "bigquery", "http"):
        tell(f"measuring {name} ...")
        figures.append(_drain(rig, name, events))
    return figures


def _drain(rig: Rig, name: str, events: int) -> StageFigure:
    with rig.stages(name) as running:
        stage = running[name]
        # From the first durable batch on: start-up is not throughput.
        wait_for(stage.records, 60.0, f"{name} to begin", every_s=0.005)
        first, started_s, cpu_s = stage.records(), time.monotonic(), stage.cpu_s()
        wait_for(lambda: stage.records() >= events, _LIMIT_S, f"{name} to finish", every_s=0.02)
        done = stage.records() - first
        return StageFigure(
            name,
            done,
            time.monotonic() - started_s,
            (stage.cpu_s() - cpu_s) / done * 1e6,
            stage.rss_bytes() / 1e6,
        )


def _streaming(report: object) -> bool:
    return getattr(report, "state", "") == "running" and getattr(report, "details", {}).get("phase") == "streaming"


@dataclass(frozen=True, slots=True)
class ChainFigure:
    """All stages at one rate: the chain keeps up when it is done soon after the traffic ends."""

    rate_per_s: float
    events: int
    drained_after_s: float
    cpu_us_per_event: dict[str, float]

    @property
    def sustained(self) -> bool:
        """Lag did not grow: what was in flight at the end is a few seconds' worth."""
        return self.drained_after_s <= 3.0


def measure_chain(rig: Rig, rate_per_s: float, seconds: float, tell: Tell) -> ChainFigure:
    """Open-loop traffic at a rate through everything at once."""
    names = ("capture", "enrich", "redis", "bigquery", "http")
    with rig.stages(*names) as running:
        cpu_before = {name: stage.cpu_s() for name, stage in running.items()} | rig.servers_cpu_s()
        before = {name: stage.records() for name, stage in running.items()}
        tell(f"{rate_per_s:,.0f} events/s for {seconds:.0f} s ...")
        traffic = rig.generate("continuous", "--rate", f"{rate_per_s:g}", "--fixed-content")
        try:
            time.sleep(seconds)
        finally:
            stop_process(traffic)
        ended_s = time.monotonic()
        captured = _settled(lambda: running["capture"].records() - before["capture"])
        for name in names[1:]:
            wait_for(partial(_done, running[name], before[name] + captured), _LIMIT_S, f"{name} to catch up")
        drained_after_s = time.monotonic() - ended_s
        cpu_after = {name: stage.cpu_s() for name, stage in running.items()} | rig.servers_cpu_s()
    costs = {name: (cpu_after[name] - cpu_before[name]) / captured * 1e6 for name in cpu_before}
    return ChainFigure(rate_per_s, captured, drained_after_s, costs)


def _done(stage: StageProcess, records: int) -> bool:
    return stage.records() >= records


def _settled(count: Callable[[], int]) -> int:
    """The count once it has not moved for half a second."""
    last, since_s = count(), time.monotonic()
    while time.monotonic() - since_s < 0.5:
        time.sleep(0.05)
        now = count()
        if now != last:
            last, since_s = now, time.monotonic()
    return last

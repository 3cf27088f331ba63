"""The whole chain at one open-loop rate: lag over time, what each process costs and holds, and the ledger at the end.

Lag is counted from PostgreSQL: rows written there less the records that are durable behind a stage.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from statistics import median

import psycopg

from engagement_stream.bench.latency import SINKS
from engagement_stream.bench.rig import Rig, StageProcess, stop_process, wait_for

STAGES = ("capture", "enrich", *SINKS)
WARM_UP_S = 15.0
_EVERY_S = 1.0
_DRAIN_S = 600.0
_GROWS_PART = 0.01
"""Lag that grows by less than this part of the traffic is told as steady: a thousand-second run would show it."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: seconds since the traffic began, rows in PostgreSQL, and how many of them each stage lacks."""

    at_s: float
    rows: int
    lag: dict[str, int]


@dataclass(frozen=True, slots=True)
class Sustained:
    """One rate. CPU and lag leave the first 15 s out."""

    rate_per_s: float
    written_per_s: float
    events: int
    samples: list[Sample]
    growth_per_s: dict[str, float]
    """Slope of each stage's lag, in events per second."""
    drained_after_s: float
    cpu_us_per_event: dict[str, float]
    cores: float
    """All of them together, traffic included."""
    rss_mb: dict[str, float]
    """The largest that was seen."""
    ledger: dict[str, int] = field(default_factory=dict)

    @property
    def steady(self) -> bool:
        """The traffic was written as asked, and no stage fell behind it."""
        written = self.written_per_s >= 0.97 * self.rate_per_s
        return written and all(slope <= _GROWS_PART * self.rate_per_s for slope in self.growth_per_s.values())


def measure_sustained(rig: Rig, rate_per_s: float, seconds: float, batch_size: int, tell: Tell) -> Sustained:
    """Traffic at `rate_per_s` for 15 s and `seconds`; then everything drains."""
    with (
        rig.stages(*STAGES, BATCH_SIZE=str(batch_size)) as running,
        psycopg.connect(rig.settings.postgres.database_url.get_secret_value(), autocommit=True) as source,
    ):
        began = _rows(source)
        before = {name: stage.records() for name, stage in running.items()}
        tell(f"{rate_per_s:,.0f} events/s: {WARM_UP_S:.0f} s of warm-up, then {seconds:.0f} s ...")
        traffic = rig.generate("continuous", "--rate", f"{rate_per_s:g}", "--fixed-content")
        samples: list[Sample] = []
        rss_mb: dict[str, float] = {}
        try:
            started_s = time.monotonic()
            wait_for(lambda: _rows(source) > began, 60.0, "the traffic to begin")
            _watch(started_s + WARM_UP_S, partial(_sample, source, began, before, running, rss_mb, started_s), samples)
            cpu, rows, since_s = _cpu_s(rig, running, traffic.pid), _rows(source), time.monotonic()
            first = len(samples)
            _watch(since_s + seconds, partial(_sample, source, began, before, running, rss_mb, started_s), samples)
            spent = {name: now - cpu[name] for name, now in _cpu_s(rig, running, traffic.pid).items()}
            took_s, done = time.monotonic() - since_s, _rows(source) - rows
        finally:
            stop_process(traffic)
        ended_s, events = time.monotonic(), _rows(source) - began
        for name, stage in running.items():
            wait_for(partial(_has, stage, before[name] + events), _DRAIN_S, f"{name} to drain")
        return Sustained(
            rate_per_s,
            done / took_s,
            events,
            samples,
            {name: slope([(sample.at_s, sample.lag[name]) for sample in samples[first:]]) for name in STAGES},
            time.monotonic() - ended_s,
            {name: seconds_ / max(done, 1) * 1e6 for name, seconds_ in spent.items()},
            sum(spent.values()) / took_s,
            rss_mb,
        )


def _watch(until_s: float, look: Callable[[], Sample], samples: list[Sample]) -> None:
    while (left_s := until_s - time.monotonic()) > 0:
        samples.append(look())
        time.sleep(min(_EVERY_S, left_s))


def _sample(
    source: psycopg.Connection,
    began: int,
    before: Mapping[str, int],
    running: Mapping[str, StageProcess],
    rss_mb: dict[str, float],
    started_s: float,
) -> Sample:
    lag = {}
    at_s, rows = time.monotonic() - started_s, _rows(source) - began
    for name, stage in running.items():
        rss_mb[name] = max(rss_mb.get(name, 0.0), stage.rss_bytes() / 1e6)
        lag[name] = max(rows - (stage.records() - before[name]), 0)
    return Sample(round(at_s, 2), rows, lag)


def _rows(source: psycopg.Connection) -> int:
    """Rows ever written: one writer that never fails leaves no gap in the sequence."""
    found = source.execute("select case when is_called then last_value else 0 end from engagement_events_id_seq")
    row = found.fetchone()
    return int(row[0]) if row else 0


def _has(stage: StageProcess, records: int) -> bool:
    return stage.records() >= records


def _cpu_s(rig: Rig, running: Mapping[str, StageProcess], traffic: int) -> dict[str, float]:
    import psutil

    times = psutil.Process(traffic).cpu_times()
    own = {name: stage.cpu_s() for name, stage in running.items()}
    return own | rig.servers_cpu_s() | {"traffic": float(times.user + times.system)}


def slope(points: list[tuple[float, int]]) -> float:
    """By how much the second value grows per unit of the first: the median over all pairs (Theil-Sen). Pure.

    A stage that gathers has a lag like a saw, and one hiccup at an end of a short run would bend a least-squares line.
    """
    pairs = [(after_y - y) / (after_x - x) for (x, y), (after_x, after_y) in combinations(points, 2) if after_x > x]
    return median(pairs) if pairs else 0.0

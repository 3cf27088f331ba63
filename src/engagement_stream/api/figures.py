"""From a process's metric families to the figures of /metrics: pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from prometheus_client import Metric

from engagement_stream.api.models import Latency, ProcessUse

_PREFIX = "engagement_"
_LATENCY = "engagement_commit_to_durable_seconds"
_NAMED = frozenset(
    {
        "engagement_records",
        "engagement_dead_letters",
        "engagement_retries",
        "engagement_reopened",
        "engagement_lag_records",
        "engagement_last_progress_timestamp_seconds",
        _LATENCY,
    }
)


class Figures:
    """Sums over the samples of one process; what it did not report is None."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = {family.name: family for family in families}

    def total(self, name: str) -> int | None:
        """A counter or gauge, summed over its labels."""
        value = self._sum(name)
        return None if value is None else int(value)

    def total_by(self, name: str, label: str) -> dict[str, int]:
        """The same, apart for each value of a label."""
        sums: dict[str, int] = {}
        for labels, value in self._values(name):
            sums[labels.get(label, "")] = sums.get(labels.get(label, ""), 0) + int(value)
        return sums

    def others(self) -> dict[str, float]:
        """What is ours and has no field of its own; the moments at which counters were made say nothing to a reader."""
        found: dict[str, float] = {}
        for name, family in self._families.items():
            if name in _NAMED or not name.startswith(_PREFIX) or name.endswith("_created"):
                continue
            if family.type in ("counter", "gauge") and (value := self._sum(name)) is not None:
                found[name.removeprefix(_PREFIX)] = value
        return found

    def process(self, wall_s: float) -> ProcessUse:
        """CPU, memory, age."""
        started_s = self._sum("process_start_time_seconds")
        return ProcessUse(
            cpu_seconds=self._sum("process_cpu_seconds"),
            resident_bytes=self.total("process_resident_memory_bytes"),
            uptime_s=None if started_s is None else max(wall_s - started_s, 0.0),
        )

    def latency(self) -> Latency | None:
        """Commit to durable."""
        family = self._families.get(_LATENCY)
        if family is None:
            return None
        buckets: dict[float, float] = {}
        sum_s = 0.0
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                edge_s = float(sample.labels["le"])
                buckets[edge_s] = buckets.get(edge_s, 0.0) + sample.value
            elif sample.name.endswith("_sum"):
                sum_s += sample.value
        count = int(buckets.get(math.inf, 0.0))
        if count == 0:
            return None
        p50_s, p90_s, p99_s = (quantile(buckets, q) for q in (0.5, 0.9, 0.99))
        return Latency(p50_s=p50_s, p90_s=p90_s, p99_s=p99_s, mean_s=sum_s / count, count=count)

    def _sum(self, name: str) -> float | None:
        values = [value for _, value in self._values(name)]
        return sum(values) if values else None

    def _values(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        family = self._families.get(name)
        if family is None:
            return []
        wanted: Callable[[str], bool] = {name, f"{name}_total"}.__contains__
        return [(s.labels, s.value) for s in family.samples if wanted(s.name) and math.isfinite(s.value)]


def quantile(cumulative: Mapping[float, float], q: float) -> float:
    """The value below which a share `q` lies, interpolated in its bucket as Prometheus's histogram_quantile does.

    `cumulative`: upper edge -> count up to it, +Inf included and above 0. Beyond the last finite edge that edge is
    the answer.
    """
    edges = sorted(cumulative)
    rank = q * cumulative[edges[-1]]
    for below, edge in pairwise([0.0, *edges]):
        if cumulative[edge] >= rank:
            if math.isinf(edge):
                return below
            before = cumulative.get(below, 0.0)
            inside = cumulative[edge] - before
            return below + (edge - below) * ((rank - before) / inside if inside else 1.0)
    return edges[-1]

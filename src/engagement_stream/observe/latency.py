"""The commit-to-durable histogram, filled a batch at a time.

prometheus_client's Histogram takes one value a call, about a microsecond each; here a whole batch is counted by its
commit times first, which are few.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class BatchHistogram(Collector):
    """Seconds from the source's commit to the durable receipt, by stage."""

    labelnames = ("stage",)

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry = REGISTRY) -> None:
        self._name, self._documentation = name, documentation
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums_s: dict[str, float] = {}
        registry.register(self)

    def observe(self, stage: str, now_us: int, commit_ts_us: Sequence[int]) -> None:
        """One value per commit time; a clock that runs behind the source's counts as zero."""
        found, total_s = [0] * (len(BUCKETS_S) + 1), 0.0
        # Events of one source transaction share its time.
        for ts_us, events in Counter(commit_ts_us).items():
            age_s = max(now_us - ts_us, 0) / 1e6
            found[bisect_left(BUCKETS_S, age_s)] += events
            total_s += age_s * events
        with self._lock:
            counts = self._counts.setdefault(stage, [0] * (len(BUCKETS_S) + 1))
            for bucket, events in enumerate(found):
                counts[bucket] += events
            self._sums_s[stage] = self._sums_s.get(stage, 0.0) + total_s

    def counts(self, stage: str) -> list[int]:
        """Values in each bucket, the one beyond the last edge included; empty for a stage that never observed."""
        with self._lock:
            return list(self._counts.get(stage, ()))

    def collect(self) -> Iterable[Metric]:
        """For the registry: cumulative buckets, as Prometheus wants them."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self.labelnames)
        with self._lock:
            for stage, counts in self._counts.items():
                family.add_metric([stage], list(_cumulative(counts)), self._sums_s[stage])
        yield family


def _cumulative(counts: Sequence[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for edge, count in zip([*map(str, BUCKETS_S), "+Inf"], counts, strict=True):
        total += count
        yield edge, total

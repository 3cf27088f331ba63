"""Rates and latencies of the last seconds, from counters that only grow: pure, with every time passed in."""

from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise

from engagement_stream.api.figures import quantile
from engagement_stream.api.live.models import RecentLatency
from engagement_stream.observe.latency import BUCKETS_S

RATE_OVER_S = 5.0
LATENCY_OVER_S = 10.0
_EDGES = (*BUCKETS_S, float("inf"))


class Recent:
    """The counters of one process at the last looks. A counter that falls belongs to a new process: it began at 0."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int, Sequence[int]]] = deque()

    def look(self, at_s: float, records: int, latency: Sequence[int]) -> None:
        """One more; `latency` as in StatusReport. What is older than the longest window is forgotten."""
        self._looks.append((at_s, records, latency))
        while len(self._looks) > 2 and at_s - self._looks[1][0] >= LATENCY_OVER_S:
            self._looks.popleft()

    def records_per_s(self) -> float | None:
        """Over about RATE_OVER_S; None before the second look."""
        looks = self._since(RATE_OVER_S)
        over_s = looks[-1][0] - looks[0][0] if looks else 0.0
        if over_s <= 0:
            return None
        return sum(_more(before[1], after[1]) for before, after in pairwise(looks)) / over_s

    def buckets(self) -> tuple[list[int], float]:
        """What was counted in each bucket over about LATENCY_OVER_S, and over how many seconds."""
        looks = self._since(LATENCY_OVER_S)
        counts = [0] * len(_EDGES)
        for (_, _, before), (_, _, after) in pairwise(looks):
            restarted = sum(after) < sum(before)
            for bucket, value in enumerate(after):
                counts[bucket] += value if restarted or not before else value - before[bucket]
        return counts, looks[-1][0] - looks[0][0] if looks else 0.0

    def _since(self, window_s: float) -> list[tuple[float, int, Sequence[int]]]:
        """The looks of the window, and the one before it so that the first seconds count too."""
        looks = list(self._looks)
        while len(looks) > 2 and looks[-1][0] - looks[1][0] >= window_s:
            del looks[0]
        return looks


def latency_of(counts: Sequence[int], window_s: float) -> RecentLatency | None:
    """The quantiles of these buckets; None when nothing was counted."""
    total = sum(counts)
    if total == 0:
        return None
    cumulative = dict(zip(_EDGES, map(float, accumulate(counts)), strict=True))
    return RecentLatency(
        p50_s=quantile(cumulative, 0.5), p99_s=quantile(cumulative, 0.99), count=total, window_s=window_s
    )


def _more(before: int, after: int) -> int:
    return after if after < before else after - before

"""Quantiles out of histogram buckets; pure."""

from collections.abc import Mapping


def added(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """What a cumulative histogram gained between two looks."""
    return {edge: count - before.get(edge, 0.0) for edge, count in after.items()}


def quantile_s(buckets: Mapping[float, float], q: float) -> float:
    """Seconds below which the part `q` of the values lies, linear within its bucket (as Prometheus does it)."""
    edges = sorted(buckets)
    total = buckets[edges[-1]] if edges else 0.0
    if not total:
        return float("nan")
    rank, lower, below = q * total, 0.0, 0.0
    for edge in edges:
        count = buckets[edge]
        if count >= rank:
            if edge == float("inf"):
                return lower
            return lower + (edge - lower) * (rank - below) / max(count - below, 1e-9)
        lower, below = edge, count
    return lower

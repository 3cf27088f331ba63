"""What `verify --watch` has found so far, for Prometheus; only its own process loads these."""

import time

from prometheus_client import Counter, Gauge

from engagement_stream.verify.report import KINDS, Kind, Report

FOUND: dict[Kind, Counter] = {
    "missing": Counter("engagement_verify_missing", "Events that have to be in a place and are not.", ["place"]),
    "doubled": Counter("engagement_verify_doubled", "Events that are in a place more than once.", ["place"]),
    "wrong": Counter("engagement_verify_wrong", "Events with other values than they have to have.", ["place"]),
    "order_breaks": Counter(
        "engagement_verify_order_breaks", "Events that came after a later one of the same content.", ["place"]
    ),
}
ROWS = Counter("engagement_verify_rows", "Rows that were compared.", ["place"])
LAST_SUCCESS = Gauge(
    "engagement_verify_last_success_timestamp_seconds",
    "When a round last read every place and found everything right; 0 before the first.",
)


def count(report: Report) -> None:
    """One round more."""
    for place in report.places:
        ROWS.labels(place.name).inc(place.rows)
        for kind in KINDS:
            FOUND[kind].labels(place.name).inc(getattr(place, kind))
    if report.exit_code == 0:
        LAST_SUCCESS.set(time.time())

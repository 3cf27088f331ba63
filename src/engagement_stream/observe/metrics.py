"""Every metric a stage has, in one place; `engagement_` is their common prefix."""

import time
from collections.abc import Mapping, Sequence

from prometheus_client import Counter, Gauge

from engagement_stream.observe.latency import BatchHistogram

RECORDS = Counter("engagement_records", "Records that are durable behind this stage.", ["stage"])
DEAD_LETTERS = Counter(
    "engagement_dead_letters", "Records this stage sent to the dead-letter queue.", ["stage", "reason"]
)
RETRIES = Counter("engagement_retries", "Attempts that have to be made again.", ["stage"])
REOPENED = Counter("engagement_reopened", "Times the stage went back to its durable position.", ["stage"])
LAG_RECORDS = Gauge(
    "engagement_lag_records", "Records in the topic behind this stage's position.", ["stage", "partition"]
)
LAG_SECONDS = Gauge(
    "engagement_lag_seconds",
    "How long ago the stage last was where its topic ends (or the source committed what it has delivered since).",
    ["stage"],
)
LAST_PROGRESS = Gauge(
    "engagement_last_progress_timestamp_seconds", "When the stage last made something durable.", ["stage"]
)
CANARY_AGE = Gauge(
    "engagement_canary_age_seconds",
    "Seconds since the newest canary that is durable behind this stage was sent into PostgreSQL.",
    ["stage"],
)
SLOT_LAG_BYTES = Gauge("engagement_slot_lag_bytes", "WAL that the replication slot holds back on the source.")
SLOT_AT_RISK = Gauge(
    "engagement_slot_at_risk", "1: the source may remove, or has removed, WAL that the replication slot needs."
)
OVERSIZED = Counter("engagement_oversized_payloads", "raw_payload values replaced by their hash and size.")
CHANGED_LATER = Counter(
    "engagement_events_changed_later", "Updates, deletes and truncates of delivered events.", ["op"]
)
CLAMPED = Counter("engagement_future_timestamps", "Events from the future, counted at their commit time.")
COMMIT_TO_DURABLE = BatchHistogram(
    "engagement_commit_to_durable_seconds",
    "Seconds from PostgreSQL's commit to the durable receipt of this stage (live events only).",
)


def counted(counter: Counter) -> int:
    """What this process has counted so far, over all labels."""
    return int(sum(s.value for family in counter.collect() for s in family.samples if s.name.endswith("_total")))


class StageMetrics:
    """The part of the above that every stage reports the same way."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._records = RECORDS.labels(stage)
        self._last_progress = LAST_PROGRESS.labels(stage)
        self._behind = False
        self._caught_up_s = 0.0
        self._reached_s = 0.0
        self._began_s = time.time()
        COMMIT_TO_DURABLE.observe(stage, 0, ())  # so that the series is there before the first event

    def durable(self, records: int, commit_ts_us: Sequence[int] = ()) -> None:
        """`records` are durable now; `commit_ts_us` of those that came live."""
        self._records.inc(records)
        self._last_progress.set_to_current_time()
        if commit_ts_us:
            self._reached_s = max(commit_ts_us) / 1e6
            COMMIT_TO_DURABLE.observe(self.stage, time.time_ns() // 1_000, commit_ts_us)

    def lag(self, lag_records: Mapping[int, int]) -> None:
        """Partition -> records behind."""
        for partition, records in lag_records.items():
            LAG_RECORDS.labels(self.stage, str(partition)).set(records)
        self._behind = any(lag_records.values())
        if not self._behind:
            self._caught_up_s = time.time()
        LAG_SECONDS.labels(self.stage).set_function(self.lag_s)

    def lag_s(self) -> float:
        """0 when nothing waits. Computed when it is asked for, so that it grows while the stage hangs in a call."""
        since_s = max(self._caught_up_s, self._reached_s) or self._began_s
        return max(time.time() - since_s, 0.0) if self._behind else 0.0

"""What the enrich stage tells of itself: how much became durable and how old it was, what was refused, its lag."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, TopicPartition

from engagement_stream.broker.retry import replays_of
from engagement_stream.enrich.catalog_reader import CatalogReader
from engagement_stream.enrich.start import Place
from engagement_stream.enrich.translate import STAGE, Output
from engagement_stream.observe.metrics import CHANGED_LATER, DEAD_LETTERS, StageMetrics
from engagement_stream.observe.status import StageStatus
from engagement_stream.settings import KafkaSettings

_LAG_EVERY_S = 1.0


class Telling:
    """To the stage's metrics and status; replays under a name of their own.

    How long a letter lay in its queue says nothing about how fast this stage is.
    """

    def __init__(self, kafka: KafkaSettings, status: StageStatus, metrics: StageMetrics) -> None:
        self._retry_topic = kafka.retry_topic(STAGE)
        self._status, self._metrics = status, metrics
        self._replay_metrics = StageMetrics(replays_of(STAGE))
        self._lag_told_s = 0.0

    def durable(self, outputs: Sequence[Output], ends: Mapping[int, int], *, replayed: bool) -> None:
        """A transaction is committed; `ends`: partition -> offset after its last record."""
        for output in outputs:
            records = len(output.records) - output.marks
            if replayed:
                self._replay_metrics.durable(records)
            else:
                self._metrics.durable(records, output.live_commit_ts_us)
                for canary in output.canaries:
                    self._status.canaries.read(*canary)
            self._status.progress(records)
            for letter in output.letters:
                DEAD_LETTERS.labels(STAGE, letter.reason).inc()
            for op, count in output.changed_later.items():
                CHANGED_LATER.labels(op).inc(count)
        if not replayed:
            self._status.canaries.durable(ends)

    def lag(self, reader: Consumer, positions: Mapping[Place, int], catalog: CatalogReader) -> None:
        """Now and then, by the ends that came with the fetches: costs the brokers nothing."""
        now_s = time.monotonic()
        if now_s - self._lag_told_s < _LAG_EVERY_S:
            return
        self._lag_told_s = now_s
        lags: dict[int, int] = {}
        replays: dict[int, int] = {}
        for (topic, partition), position in positions.items():
            _, high = reader.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            behind = max(high - position, 0) if high >= 0 else 0
            (replays if topic == self._retry_topic else lags)[partition] = behind
        self._metrics.lag(lags)
        self._replay_metrics.lag(replays)
        self._status.detail(
            lag_records=sum(lags.values()),
            lag_replays=sum(replays.values()),
            partitions=",".join(map(str, sorted(lags))),
            contents=len(catalog.catalog.versions),
            unreadable_contents=catalog.unreadable,
        )

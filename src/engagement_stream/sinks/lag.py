"""How many records of the log a sink has not yet read, told once in a while."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from engagement_stream.observe.metrics import StageMetrics
from engagement_stream.observe.status import StageStatus

_EVERY_S = 1.0
_WHILE_WAITING_EVERY_S = 5.0
_TIMEOUT_S = 2.0


class LagTeller:
    """Puts it into the stage's metrics and status, partition by partition."""

    def __init__(self, topic: str, metrics: StageMetrics, status: StageStatus) -> None:
        self._topic, self._metrics, self._status = topic, metrics, status
        self._told_s = 0.0

    def tell(self, reader: Consumer, positions: Mapping[int, int]) -> None:
        """By the ends that came with the fetches: costs the broker nothing."""
        now_s = time.monotonic()
        if now_s - self._told_s < _EVERY_S:
            return
        self._told_s = now_s
        lags: dict[int, int] = {}
        for partition, position in positions.items():
            _, high = reader.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            lags[partition] = max(high - position, 0) if high >= 0 else 0
        self._report(lags)

    def tell_while_waiting(self, reader: Consumer, assigned: Sequence[int], positions: Mapping[int, int]) -> None:
        """The same while nothing is fetched, so that an outage of the receiver shows how much waits for it.

        The ends have to be asked for then; so do positions when the sink could not open. The group's offset may be
        older than what the sink would tell: it is a figure to look at.
        """
        now_s = time.monotonic()
        if now_s - self._told_s < _WHILE_WAITING_EVERY_S or not assigned:
            return
        self._told_s = now_s
        parts = [TopicPartition(self._topic, partition) for partition in assigned]
        lags: dict[int, int] = {}
        try:
            known = positions or {part.partition: max(part.offset, 0) for part in reader.committed(parts, _TIMEOUT_S)}
            for part in parts:
                low, high = reader.get_watermark_offsets(part, _TIMEOUT_S)
                lags[part.partition] = max(high - max(known.get(part.partition, low), low), 0)
        except KafkaException:
            return
        self._report(lags)

    def gone(self, partitions: Sequence[int]) -> None:
        """They are somebody else's to tell from now on."""
        self._metrics.lag(dict.fromkeys(partitions, 0))

    def _report(self, lags: Mapping[int, int]) -> None:
        self._metrics.lag(lags)
        self._status.detail(lag_records=sum(lags.values()), partitions=",".join(map(str, sorted(lags))))

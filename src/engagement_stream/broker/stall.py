"""Notices a consumer that stands still.

librdkafka's consumer was seen assigned, without an error, and never fetching again after its broker was killed and
restarted. Silence alone proves nothing; silence while the log holds more than was read does.
"""

import time
from collections.abc import Mapping

from confluent_kafka import IsolationLevel

from engagement_stream.broker.topics import high_watermarks
from engagement_stream.errors import Stalled
from engagement_stream.settings import KafkaSettings

_QUIET_S = 10.0


class StallWatch:
    """Asks the brokers after ten quiet seconds (or `quiet_s`), and believes what it sees the second time."""

    def __init__(self, kafka: KafkaSettings, topic: str, *, quiet_s: float | None = None) -> None:
        self._kafka, self._topic, self._quiet_s = kafka, topic, quiet_s
        self._quiet_since_s = time.monotonic()
        self._suspected: dict[int, int] | None = None

    def heard(self) -> None:
        """A record came, or the end of a partition was told."""
        self._quiet_since_s = time.monotonic()
        self._suspected = None

    def look(self, positions: Mapping[int, int]) -> None:
        """Raises Stalled when two looks find the same positions behind the committed end; Retry."""
        if not positions or time.monotonic() - self._quiet_since_s < (self._quiet_s or _QUIET_S):
            return
        self._quiet_since_s = time.monotonic()
        committed = IsolationLevel.READ_COMMITTED  # an open transaction of somebody else's is no stall of ours
        ends = high_watermarks(self._kafka, self._topic, max(positions) + 1, isolation=committed)
        behind = {number: offset for number, offset in positions.items() if ends[number] > offset}
        if behind and behind == self._suspected:
            raise Stalled(f"nothing comes from {self._topic} although partitions {sorted(behind)} hold more")
        self._suspected = behind or None

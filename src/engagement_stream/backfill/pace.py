"""Keeping out of the live stream's way: not faster than asked for, and resting while live falls behind."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import IsolationLevel

from engagement_stream.broker.positions import committed
from engagement_stream.broker.topics import high_watermarks
from engagement_stream.errors import Retry
from engagement_stream.settings import KafkaSettings

_LOOK_EVERY_S = 0.5
_LEAST_LIMIT_S = 2.0
"""The BigQuery sink gathers for a second: below that nobody falls behind."""
_LONGEST_REST_S = 10.0
"""For one chunk: a stage that is behind for another reason must not stop us for good."""


@dataclass
class LagClock:
    """Tells from offsets alone how old the oldest record is that a stage has not come past. Pure."""

    _ends: deque[tuple[float, Mapping[int, int]]] = field(default_factory=lambda: deque(maxlen=600))

    def lag_s(self, now_s: float, ends: Mapping[int, int], positions: Mapping[int, int | None]) -> float:
        """Seconds since the first look at which some partition ended beyond its present position."""
        self._ends.append((now_s, dict(ends)))
        while self._ends and all((positions.get(p) or 0) >= end for p, end in self._ends[0][1].items()):
            self._ends.popleft()
        return now_s - self._ends[0][0] if self._ends else 0.0


@dataclass
class Pace:
    """Call `turn` before each chunk of rows. `rows_per_s`: None for as fast as live allows."""

    kafka: KafkaSettings | None
    rows_per_s: float | None
    stopped: Callable[[], bool]
    sink: str = "bigquery"
    rested_s: float = 0.0
    _clock: LagClock = field(default_factory=LagClock)
    _idle_s: float = 0.0
    _looked_s: float = 0.0
    _lag_s: float = 0.0
    _ahead_until_s: float = 0.0

    def look(self) -> float:
        """Lag of the sink in seconds, as of at most half a second ago; 0 where it cannot be told."""
        now_s = time.monotonic()
        if self.kafka is not None and now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            try:
                positions = committed(self.kafka, self.sink, self.kafka.enriched_topic)
                ends = high_watermarks(
                    self.kafka,
                    self.kafka.enriched_topic,
                    self.kafka.partitions,
                    isolation=IsolationLevel.READ_COMMITTED,
                )
            except Retry:
                self._lag_s = 0.0
            else:
                self._lag_s = self._clock.lag_s(now_s, dict(enumerate(ends)), positions)
        return self._lag_s

    def look_idle(self) -> None:
        """Before we burden anything: what is usual here."""
        self._idle_s = max(self._idle_s, min(self.look(), _LONGEST_REST_S))

    def turn(self, rows: int) -> None:
        """Wait for our turn to read `rows` more."""
        began_s = time.monotonic()
        limit_s = max(2 * self._idle_s, _LEAST_LIMIT_S)
        while self.look() > limit_s and time.monotonic() - began_s < _LONGEST_REST_S and not self.stopped():
            time.sleep(_LOOK_EVERY_S / 2)
        if self.rows_per_s is not None:
            while (left_s := self._ahead_until_s - time.monotonic()) > 0 and not self.stopped():
                time.sleep(min(left_s, 0.2))
            self._ahead_until_s = max(self._ahead_until_s, time.monotonic()) + rows / self.rows_per_s
        self.rested_s += time.monotonic() - began_s

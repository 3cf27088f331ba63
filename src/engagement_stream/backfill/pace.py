"""Keeping out of the live stream's way: not faster than asked for, and resting while live falls behind."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from confluent_kafka import IsolationLevel

from engagement_stream.broker.positions import committed
from engagement_stream.broker.topics import high_watermarks
from engagement_stream.errors import Retry
from engagement_stream.settings import KafkaSettings

_LOOK_EVERY_S = 0.5
_LEAST_LIMIT_S = 2.0
"""The sinks gather for up to a second: below that nobody falls behind."""
_LEAST_GENTLE_S = 1.0
_LONGEST_REST_S = 10.0
"""A stage that is behind for another reason must not stop us for good ..."""
_LOOK_AWAY_S = 60.0
"""... nor again and again: so long nobody is waited for after a rest that was in vain."""


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
    """Call `turn` before rows are read, and do each job at the target inside `job`. Used by several threads.

    `rows_per_s`: None for as fast as live allows. `gentle`: the target does one thing at a time, and live waits for it.
    """

    kafka: KafkaSettings | None
    rows_per_s: float | None
    stopped: Callable[[], bool]
    sink: str = "bigquery"
    gentle: bool = False
    rested_s: float = 0.0
    _clock: LagClock = field(default_factory=LagClock)
    _one_job: Lock = field(default_factory=Lock)
    _looking: Lock = field(default_factory=Lock)
    _idle_s: float = 0.0
    _looked_s: float = 0.0
    _lag_s: float = 0.0
    _ahead_until_s: float = 0.0
    _next_job_s: float = 0.0
    _look_away_until_s: float = 0.0

    def look(self) -> float:
        """Lag of the sink in seconds, as of at most half a second ago; 0 where it cannot be told, or none runs."""
        with self._looking:
            now_s = time.monotonic()
            if self.kafka is not None and now_s - self._looked_s >= _LOOK_EVERY_S:
                self._looked_s = now_s
                self._lag_s = self._ask(self.kafka, now_s)
            return self._lag_s

    def look_idle(self) -> None:
        """Before we burden anything: what is usual here."""
        self._idle_s = max(self._idle_s, min(self.look(), _LONGEST_REST_S))

    def turn(self, rows: int) -> None:
        """Wait for our turn to read `rows` more."""
        if not self.gentle:
            self._let_live_catch_up(max(2 * self._idle_s, _LEAST_LIMIT_S))
        if self.rows_per_s is not None:
            self._rest_until(self._ahead_until_s)
            self._ahead_until_s = max(self._ahead_until_s, time.monotonic()) + rows / self.rows_per_s

    @contextmanager
    def job(self) -> Iterator[None]:
        """Around a load or an insert. Gentle: one at a time, only while live keeps up, and as long a rest after it.

        So a live append waits for one job at most, and what it asks in several steps is not stopped at each of them.
        """
        if not self.gentle:
            yield
            return
        with self._one_job:
            self._rest_until(self._next_job_s)
            self._let_live_catch_up(max(self._idle_s, _LEAST_GENTLE_S))
            began_s = time.monotonic()
            try:
                yield
            finally:
                over_s = time.monotonic()
                self._next_job_s = over_s + min(over_s - began_s, _LONGEST_REST_S)

    def _let_live_catch_up(self, limit_s: float) -> None:
        began_s = time.monotonic()
        if began_s < self._look_away_until_s:
            return
        while self.look() > limit_s and not self.stopped():
            if time.monotonic() - began_s > _LONGEST_REST_S:
                self._look_away_until_s = time.monotonic() + _LOOK_AWAY_S
                break
            time.sleep(_LOOK_EVERY_S / 4)
        self.rested_s += time.monotonic() - began_s

    def _rest_until(self, until_s: float) -> None:
        began_s = time.monotonic()
        while (left_s := until_s - time.monotonic()) > 0 and not self.stopped():
            time.sleep(min(left_s, 0.2))
        self.rested_s += time.monotonic() - began_s

    def _ask(self, kafka: KafkaSettings, now_s: float) -> float:
        try:
            positions = committed(kafka, self.sink, kafka.enriched_topic)
            ends = high_watermarks(
                kafka, kafka.enriched_topic, kafka.partitions, isolation=IsolationLevel.READ_COMMITTED
            )
        except Retry:
            return 0.0
        if all(at is None for at in positions.values()):
            return 0.0
        return self._clock.lag_s(now_s, dict(enumerate(ends)), positions)

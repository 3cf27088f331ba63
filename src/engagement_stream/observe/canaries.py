"""Which canaries have passed through a stage: read first, and behind it once what it wrote is durable."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import msgspec

from engagement_stream.observe.metrics import CANARY_AGE


class CanaryReport(msgspec.Struct, frozen=True):
    """What `/status` tells of them. Ages are by the stage's own monotonic clock: clocks of hosts do not matter."""

    sent_us: int | None
    """When the newest canary behind this stage was sent (the oldest of its partitions); None before the first."""
    waiting_s: float | None = None
    """Of capture: for how long the canaries that did not come back yet have been awaited; None when none is."""


class Canaries:
    """One per stage process; thread-safe, since the status server asks while the stage works."""

    def __init__(self, stage: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._stage, self._clock = stage, clock
        self._lock = threading.Lock()
        self._read: dict[int, deque[tuple[int, int]]] = {}
        """Partition -> (offset, sent_us) that are not durable yet."""
        self._newest: dict[int, int] = {}
        self._awaited: deque[tuple[int, float]] = deque()
        """(sent_us, monotonic time) of canaries on their way through PostgreSQL."""
        self._shown = False

    def assigned(self, partitions: Iterable[int]) -> None:
        """These partitions are ours now; what is known of them stays known, what was read is read again."""
        with self._lock:
            self._read = {}
            ours = set(partitions)
            self._newest = {p: sent_us for p, sent_us in self._newest.items() if p in ours}

    def sent(self, sent_us: int) -> None:
        """Capture gave one to PostgreSQL."""
        with self._lock:
            self._awaited.append((sent_us, self._clock()))

    def read(self, partition: int, offset: int, sent_us: int) -> None:
        """One was read; it counts when the position has moved past it."""
        with self._lock:
            self._read.setdefault(partition, deque()).append((offset, sent_us))

    def durable(self, ends: Mapping[int, int]) -> None:
        """Partition -> next offset: everything before it is behind the stage."""
        with self._lock:
            for partition, end in ends.items():
                read = self._read.get(partition)
                while read and read[0][0] < end:
                    self._passed(partition, read.popleft()[1])

    def passed(self, sent_us: int) -> None:
        """The same for a stage that knows no offsets: one is durable behind capture."""
        with self._lock:
            while self._awaited and self._awaited[0][0] <= sent_us:
                self._awaited.popleft()
            self._passed(0, sent_us)

    def given_up(self) -> None:
        """Those on their way are not waited for any more: the session that would have brought them is gone."""
        with self._lock:
            self._awaited.clear()

    def report(self) -> CanaryReport | None:
        """None while there never was any."""
        with self._lock:
            if not self._newest and not self._awaited:
                return None
            waiting_s = self._clock() - self._awaited[0][1] if self._awaited else None
            return CanaryReport(min(self._newest.values(), default=None), waiting_s)

    def age_s(self) -> float:
        """Since the newest canary behind this stage was sent; not a number while there is none."""
        with self._lock:
            if not self._newest:
                return float("nan")
            return max(time.time() - min(self._newest.values()) / 1e6, 0.0)

    def _passed(self, partition: int, sent_us: int) -> None:
        self._newest[partition] = max(sent_us, self._newest.get(partition, 0))
        if not self._shown:
            self._shown = True
            CANARY_AGE.labels(self._stage).set_function(self.age_s)

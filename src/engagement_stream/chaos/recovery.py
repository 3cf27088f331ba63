"""When is a stage well again? When what was committed by the fault's end is durable behind it. Decisions are pure."""

import threading
import time
from collections.abc import Sequence

from engagement_stream.chaos.kinds import TRUNK
from engagement_stream.chaos.positions import Looker, Offsets, Positions
from engagement_stream.errors import Retry

_LOOK_EVERY_S = 0.25


class Mark:
    """A moment, followed along the flow: first in the WAL, then in the raw topic, then in the enriched one.

    A stage has passed the mark once everything before it is durable behind the stage; `passed_s` says when.
    """

    def __init__(self, felt_by: Sequence[str], now_s: float) -> None:
        self.began_s = now_s
        self.felt_by = tuple(felt_by)
        self.passed_s: dict[str, float] = {}
        self.over = threading.Event()
        self._wal: int | None = None
        self._raw: Offsets = {}
        self._enriched: Offsets = {}

    def look(self, seen: Positions, now_s: float) -> None:
        """Take notice of where everybody is now."""
        if self._wal is None:
            self._wal = seen.wal
            return
        if "capture" not in self.passed_s:
            if seen.confirmed < self._wal:
                return
            self.passed_s["capture"], self._raw = now_s, seen.raw_ends
        if "enrich" not in self.passed_s and _reached(seen.stages["enrich"], self._raw):
            self.passed_s["enrich"], self._enriched = now_s, seen.enriched_ends
        if "enrich" in self.passed_s:
            for stage in self.felt_by:
                if stage not in self.passed_s and stage not in TRUNK and _reached(seen.stages[stage], self._enriched):
                    self.passed_s[stage] = now_s
        if all(stage in self.passed_s for stage in self.felt_by):
            self.over.set()

    @property
    def waits_for(self) -> list[str]:
        """Who has not passed it."""
        return [stage for stage in self.felt_by if stage not in self.passed_s]

    def took_s(self) -> float | None:
        """From the mark until the last of those that felt the fault had passed it; None while one has not."""
        return max(self.passed_s[stage] for stage in self.felt_by) - self.began_s if self.over.is_set() else None


def _reached(stage: Offsets, ends: Offsets) -> bool:
    return all(stage.get(partition, 0) >= end for partition, end in ends.items())


class Watch:
    """A thread that keeps looking, and shows every open mark what it saw."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self._lock = threading.Lock()
        self._marks: list[Mark] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def mark(self, felt_by: Sequence[str]) -> Mark:
        """A mark at this moment."""
        mark = Mark(felt_by, time.monotonic())
        with self._lock:
            self._marks.append(mark)
        return mark

    def stop(self) -> None:
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._looker.close()

    def _run(self) -> None:
        while not self._ending.wait(_LOOK_EVERY_S):
            with self._lock:
                open_marks = [mark for mark in self._marks if not mark.over.is_set()]
                self._marks = list(open_marks)
            try:
                seen = self._looker.look()
            except Retry:
                continue
            now_s = time.monotonic()
            for mark in open_marks:
                mark.look(seen, now_s)

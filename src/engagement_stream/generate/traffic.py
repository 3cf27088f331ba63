"""The engine: for every moment that is asked for, the event that happens then. Pure but for its own state.

Sessions run interleaved, as they do in life: an event is the next step of an open session that is due,
or else the first of a new one. So any schedule of moments (steady, day and night, as fast as possible) gives
exactly one event per moment, in the order in which they reach the database.
"""

import random
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush, heapreplace
from typing import NamedTuple

from engagement_stream.generate.payload import payloads
from engagement_stream.generate.population import Content, popularity, users
from engagement_stream.generate.rhythm import even
from engagement_stream.generate.sessions import DEVICES, Step, plan

_REAL_TIME_RATE = 50.0  # about 20 sessions a second of 10 minutes each: 12,000 open ones, some 10 MB
_WARM_UP_US = 900_000_000
_PEOPLE_PER_DRAW = 256
_TREND_US = 1_800_000_000
"""How long popularity stays as it was computed."""


class Event(NamedTuple):
    """A row of `engagement_events` without its id; UUIDs as bytes, times in microseconds since 1970."""

    content_id: bytes | None
    user_id: bytes | None
    event_type: str | None
    event_ts_us: int
    duration_ms: int | None
    device: str | None
    raw_payload: bytes | None


class _Session(NamedTuple):
    start_us: int
    steps: list[Step]
    content_id: bytes | None
    user_id: bytes | None
    device: str | None
    payload: bytes | None


def fast_motion(rate_per_s: float) -> float:
    """How much faster than life sessions run, so that a load test does not hold millions of them open."""
    return max(1.0, rate_per_s / _REAL_TIME_RATE)


def lateness_us(chance: float) -> int:
    """How long an event was under way, from a number in [0, 1): mostly not, rarely for hours."""
    if chance < 0.95:
        return int(chance * 400_000)
    if chance < 0.99:
        return int((chance - 0.95) * 3_000_000_000) + 1_000_000  # 1 s to 2 min
    if chance < 0.998:
        return int((chance - 0.99) * 225_000_000_000) + 120_000_000  # 2 to 32 min
    return int((chance - 0.998) * 18_000_000_000_000) + 1_800_000_000  # 30 min to 10.5 h


class Traffic:
    """`seed` and the moments asked for decide everything."""

    def __init__(self, contents: Sequence[Content], seed: int, *, rate_per_s: float, not_before_us: int = 0) -> None:
        self.contents = list(contents)
        self._rng = random.Random(seed)
        self._users = users()
        self._payloads = payloads(2_000, seed)
        self._us_per_ms = 1000 / fast_motion(rate_per_s)
        self._rate_per_s = rate_per_s
        self._not_before_us = not_before_us
        self._open: list[tuple[int, int, int, _Session]] = []  # due, serial, step, session: a heap
        self._serial = 0
        self._trend: list[float] = []
        self._trend_until_us = 0
        self._drawn: list[Content] = []

    def replace(self, contents: Sequence[Content]) -> None:
        """Content has changed; new sessions see it, open ones go on as they were."""
        self.contents = list(contents)
        self._trend_until_us = 0

    def warm_up(self, until_us: int) -> None:
        """Fill the house: sessions begun earlier are in their middle at `until_us`."""
        length_us = int(_WARM_UP_US / fast_motion(self._rate_per_s))
        for at_us in even(until_us - length_us, until_us, int(length_us * self._rate_per_s / 1e6)):
            self.at(at_us)

    def events(self, moments: Iterable[int]) -> list[Event]:
        """One event per moment (microseconds since 1970, not going back)."""
        return [self.at(at_us) for at_us in moments]

    def at(self, at_us: int) -> Event:
        """The event that reaches the database at that moment."""
        heap = self._open
        if heap and heap[0][0] <= at_us:
            _, serial, number, session = heap[0]
            step = session.steps[number]
            if number + 1 < len(session.steps):
                due_us = session.start_us + int(session.steps[number + 1].at_ms * self._us_per_ms)
                heapreplace(heap, (due_us, serial, number + 1, session))
            else:
                heappop(heap)
        else:
            session = self._begin(at_us)
            step = session.steps[0]
            if len(session.steps) > 1:
                self._serial += 1
                due_us = at_us + int(session.steps[1].at_ms * self._us_per_ms)
                heappush(heap, (due_us, self._serial, 1, session))
        chance = self._rng.random()
        payload = session.payload
        return Event(
            session.content_id,
            session.user_id,
            step.event_type if chance > 0.0002 else None,
            max(at_us - lateness_us(chance), self._not_before_us),
            step.duration_ms,
            session.device,
            None if payload is None else b'%b,"position_ms":%d}' % (payload, step.position_ms),
        )

    def _begin(self, at_us: int) -> _Session:
        draw = self._rng.random
        if at_us >= self._trend_until_us or not self._drawn:
            self._draw(at_us)
        content = self._drawn.pop()
        known = draw()
        return _Session(
            at_us,
            plan(content, self._rng),
            content.id_bytes if known > 0.002 else None,
            self._users[int(len(self._users) * draw() ** 2)] if draw() > 0.08 else None,
            DEVICES[content.content_type][int(draw() * 100)] if draw() > 0.02 else None,
            self._payloads[int(draw() * len(self._payloads))] if draw() > 0.1 else None,
        )

    def _draw(self, at_us: int) -> None:
        if at_us >= self._trend_until_us:
            self._trend = popularity(self.contents, at_us)
            self._trend_until_us = at_us + _TREND_US
        self._drawn = self._rng.choices(self.contents, cum_weights=self._trend, k=_PEOPLE_PER_DRAW)

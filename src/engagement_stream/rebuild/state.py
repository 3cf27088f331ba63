"""SQL's figures into the keys of a new generation: what the sink's script would have made of the same events.

Memory grows with the contents, not with the events: users and latest events go to Redis piece by piece.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from engagement_stream.rebuild.partition import partition_of
from engagement_stream.rebuild.source import Row
from engagement_stream.sinks.redis.fold import COUNTERS, RedisEvent, floor_bucket, recent_json
from engagement_stream.sinks.redis.generation import NewGeneration
from engagement_stream.sinks.redis.keys import BUCKET_S, order_key

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVENTS, _UNTYPED, _MS, _TIMED = (COUNTERS.index(name) for name in ("events", "untyped", "ms", "timed"))
_SLOT_OF_TYPE = {name: COUNTERS.index(name) for name in ("play", "pause", "finish", "click")}
_USERS_AT_A_TIME = 1_000


@dataclass(frozen=True, slots=True)
class Description:
    """A content as of the snapshot."""

    slug: str
    title: str
    content_type: str
    length_seconds: int | None


@dataclass(slots=True)
class Whole:
    """One partition."""

    counters: "array[int]" = field(default_factory=lambda: array("q", [0] * len(COUNTERS)))
    no_content: int = 0
    future: int = 0
    clock_us: int = 0


class NewState:
    """Feed it piece by piece, then `finish`. `lsn` is the snapshot's, `keep` the latest events kept per content."""

    def __init__(self, generation: NewGeneration, partitions: int, lsn: int, keep: int, window_s: int) -> None:
        self._put = generation.put
        self._partitions, self._lsn, self._keep, self._window_s = partitions, lsn, keep, window_s
        self._counters: dict[str, array[int]] = {}
        self._place: dict[str, int] = {}
        self._described: dict[str, Description] = {}
        self.wholes = [Whole() for _ in range(partitions)]
        self.without_commit_time = 0

    @property
    def contents(self) -> int:
        return len(self._counters)

    def totals(self) -> tuple[int, ...]:
        """COUNTERS over all partitions."""
        return tuple(sum(whole.counters[i] for whole in self.wholes) for i in range(len(COUNTERS)))

    def describe(self, rows: Iterable[Row]) -> None:
        for content_id, slug, title, content_type, length_seconds in rows:
            length = None if length_seconds is None else int(length_seconds)
            self._described[content_id or ""] = Description(slug or "", title or "", content_type or "", length)

    def count(self, rows: Iterable[Row]) -> int:
        """Take in `source.counters`; how many events they are."""
        before = self.totals()[_EVENTS]
        for content_id, *numbers in rows:
            events, play, pause, finish, click, ms, timed, future, unknown, clock_us = (int(n or 0) for n in numbers)
            added = (events, play, pause, finish, click, events - play - pause - finish - click, ms, timed)
            whole = self.wholes[self._partition(content_id or "")]
            held = self._counters.get(content_id or "")
            if held is None:
                held = self._counters[content_id or ""] = array("q", [0] * len(COUNTERS))
            for slot, amount in enumerate(added):
                held[slot] += amount
                whole.counters[slot] += amount
            whole.future += future
            whole.clock_us = max(whole.clock_us, clock_us)
            self.without_commit_time += unknown
        return self.totals()[_EVENTS] - before

    def count_without_content(self, rows: Iterable[Row]) -> int:
        """Take in `source.without_content`: these lie where their own id says."""
        number = 0
        for event_id, event_type, duration_ms, future, unknown, clock_us in rows:
            whole = self.wholes[partition_of(event_id or "", self._partitions)]
            whole.counters[_EVENTS] += 1
            whole.counters[_SLOT_OF_TYPE.get(event_type or "", _UNTYPED)] += 1
            if duration_ms is not None:
                whole.counters[_MS] += int(duration_ms)
                whole.counters[_TIMED] += 1
            whole.no_content += 1
            whole.future += int(future or 0)
            whole.clock_us = max(whole.clock_us, int(clock_us or 0))
            self.without_commit_time += int(unknown or 0)
            number += 1
        return number

    def add_users(self, rows: Iterable[Row]) -> None:
        for content_id, joined in rows:
            users = iter((joined or "").split("\n"))
            while piece := list(islice(users, _USERS_AT_A_TIME)):
                self._put(self._partition(content_id or ""), "PFADD", f"users:{content_id}", *piece)

    def add_recent(self, rows: Iterable[Row]) -> None:
        members: dict[str, list[str | int]] = {}
        for event_id, content_id, user_id, event_type, event_us, duration_ms, device, at_us in rows:
            duration = None if duration_ms is None else int(duration_ms)
            event = RedisEvent(
                event_id=int(event_id or 0),
                content_id=content_id,
                user_id=user_id,
                event_type=event_type,
                event_ts=_EPOCH + timedelta(microseconds=int(event_us or 0)),
                duration_ms=duration,
                device=device,
                slug=None,
                title=None,
                content_type=None,
                engagement_pct=self._pct(content_id or "", duration),
                position=(self._lsn, 0),
                commit_ts_us=0,
                source="",
            )
            member = order_key(int(at_us or 0), event.event_id) + recent_json(event)
            members.setdefault(content_id or "", []).extend((0, member))
        for content_id, arguments in members.items():
            partition, key = self._partition(content_id), f"recent:{content_id}"
            self._put(partition, "ZADD", key, *arguments)
            self._put(partition, "ZREMRANGEBYRANK", key, 0, -self._keep - 1)

    def _pct(self, content_id: str, duration_ms: int | None) -> float | None:
        known = self._described.get(content_id)
        if known is None or duration_ms is None or not known.length_seconds:
            return None
        return duration_ms / 1000 / known.length_seconds * 100

    def window_since_s(self) -> int:
        """No event before this moment is in any partition's window."""
        return min(self._window_from(whole) for whole in self.wholes) + BUCKET_S

    def _window_from(self, whole: Whole) -> int:
        return floor_bucket(whole.clock_us) - self._window_s

    def add_window(self, rows: Iterable[Row]) -> None:
        """Take in `source.window`, after everything was counted: then the clocks stand."""
        running: dict[str, list[int]] = {}
        buckets: list[set[int]] = [set() for _ in self.wholes]
        for content_id, start_text, events_text, ms_text in rows:
            partition = self._partition(content_id or "")
            start, events, ms = int(start_text or 0), int(events_text or 0), int(ms_text or 0)
            if start <= self._window_from(self.wholes[partition]):
                continue
            sums = running.setdefault(content_id or "", [0, 0])
            sums[0] += events
            sums[1] += ms
            buckets[partition].add(start)
            timed = (f"{content_id}:ms", ms) if ms else ()
            self._put(partition, "HSET", f"bucket:{start}", content_id or "", events, *timed)
        for content_id, (events, ms) in running.items():
            partition = self._partition(content_id)
            self._put(partition, "ZADD", "window", events, content_id)
            self._put(partition, "HSET", "window-ms", content_id, ms)
        for partition, starts in enumerate(buckets):
            for start in starts:
                self._put(partition, "ZADD", "buckets", start, start)

    def finish(self, dead_letters: Iterable[int]) -> None:
        """The hashes of counters; `dead_letters`: how many of each partition."""
        for content_id, counters in self._counters.items():
            fields = [part for pair in zip(COUNTERS, counters, strict=True) for part in pair]
            fields += ["rebuilt", packed(counters)]
            known = self._described.get(content_id)
            if known is not None:
                fields += ["as_of", f"{self._lsn:016x}{0:016x}", "title", known.title, "slug", known.slug]
                fields += ["content_type", known.content_type]
            self._put(self._partition(content_id), "HSET", f"content:{content_id}", *fields)
        for partition, (whole, letters) in enumerate(zip(self.wholes, dead_letters, strict=True)):
            for name, amount in self._totals(whole, letters):
                if amount:
                    self._put(partition, "HSET", "totals", name, amount)

    @staticmethod
    def _totals(whole: Whole, letters: int) -> Iterator[tuple[str, int]]:
        yield from zip(COUNTERS, whole.counters, strict=True)
        yield from (("no_content", whole.no_content), ("future", whole.future), ("dead_letters", letters))

    def _partition(self, content_id: str) -> int:
        place = self._place.get(content_id)
        if place is None:
            place = self._place[content_id] = partition_of(content_id, self._partitions)
        return place


def packed(counters: Iterable[int]) -> str:
    """How the counters that a rebuild found are kept, for whoever compares later."""
    return ",".join(map(str, counters))

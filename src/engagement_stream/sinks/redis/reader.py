"""Asking Redis, asynchronously: what is hot right now, and everything about one content.

Each call asks all partitions at once (one round trip) and is exact: a script reads one moment of a partition, a content
lives in one partition, and what has left the window since the last event is taken out as of `now`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from importlib.resources import files
from types import TracebackType
from typing import Any, Self

import msgspec
from redis import asyncio as redis
from redis import exceptions as foreign
from redis.asyncio.retry import Retry as ClientRetry
from redis.backoff import NoBackoff

from engagement_stream.errors import Retry
from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis.errors import translated
from engagement_stream.sinks.redis.fold import floor_bucket
from engagement_stream.sinks.redis.keys import ORDER_KEY_LENGTH, generation_tag, partitions_key, position_key, tag

_SCRIPTS = {
    name: files(__package__).joinpath(f"{name}.lua").read_text() for name in ("top", "stats", "recent", "totals")
}
_TRIES = 5
"""The second try knows the present generation; a rebuild may put another in place once meanwhile, not four times."""
_PARTITIONS_FOR_S = 5.0
"""How long the list of partitions is believed; it changes when the topic is made, and then never."""

_decode_top = msgspec.msgpack.Decoder(list[tuple[str, int, int, str, str, str]]).decode
_decode_recent = msgspec.json.Decoder(
    tuple[int, str | None, str, str | None, str | None, int | None, float | None]
).decode


@dataclass(frozen=True, slots=True)
class TopContent:
    """One place in the ranking of the last `window_minutes`; `title` and `slug` are None while they are unknown."""

    rank: int
    content_id: str
    title: str | None
    slug: str | None
    content_type: str | None
    events: int
    engagement_seconds: float
    window_minutes: int


@dataclass(frozen=True, slots=True)
class RecentEvent:
    """One event as it is kept; `event_ts` is ISO 8601 in UTC, `engagement_pct` of the content's length."""

    event_id: int
    event_type: str | None
    event_ts: str
    user_id: str | None
    device: str | None
    duration_ms: int | None
    engagement_pct: float | None

    @property
    def engagement_seconds(self) -> float | None:
        return None if self.duration_ms is None else self.duration_ms / 1000


@dataclass(frozen=True, slots=True)
class ContentStats:
    """Lifetime totals of one content, and its share of the running window.

    `untyped`: events whose type is NULL. `unique_users` is an estimate (HyperLogLog, 0.81 % standard error).
    `avg_engagement_seconds` is over the events that have a duration; None where none has.
    """

    content_id: str
    title: str | None
    slug: str | None
    content_type: str | None
    events: int
    plays: int
    pauses: int
    finishes: int
    clicks: int
    untyped: int
    unique_users: int
    engagement_seconds: float
    avg_engagement_seconds: float | None
    window_minutes: int
    window_events: int
    window_engagement_seconds: float
    last_event: RecentEvent | None


class RedisReader:
    """Raises Retry while Redis cannot be asked. `now_s` gives the time, seconds since 1970."""

    def __init__(self, settings: RedisSettings, *, now_s: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._window_s = settings.window_minutes * 60
        self._now_s = now_s
        self._client = redis.Redis.from_url(
            settings.url.get_secret_value(),
            socket_timeout=5.0,
            socket_connect_timeout=5.0,
            retry=ClientRetry(NoBackoff(), 1),  # once: a connection that was cut while idle; then the asker is told
        )
        self._digests: dict[str, str] = {}
        self._partitions: list[int] = []
        self._partitions_at_s = float("-inf")
        self._generations: dict[int, str] = {}
        """What each partition's present generation was when last seen; a rebuild puts another in place."""

    async def get_top_content(self, limit: int = 10) -> list[TopContent]:
        """The contents with most events in the window, most first; ties go to the greater content id."""
        if limit < 1:
            return []
        answers = await self._ask("top", self._now(), self._window_s, limit)
        rows = [row for _, answer in answers for row in _decode_top(answer)]
        best = nlargest(limit, rows, key=lambda row: (row[1], row[0]))
        return [
            TopContent(
                rank=rank,
                content_id=content_id,
                title=title if slug else None,
                slug=slug or None,
                content_type=content_type or None,
                events=events,
                engagement_seconds=ms / 1000,
                window_minutes=self._settings.window_minutes,
            )
            for rank, (content_id, events, ms, title, slug, content_type) in enumerate(best, 1)
        ]

    async def get_content_stats(self, content_id: str) -> ContentStats | None:
        """None for a content that no event was seen of."""
        content_id = str(content_id)
        for _ in range(_TRIES):
            answers = await self._ask("stats", self._now(), self._window_s, content_id, users_of=content_id)
            found = next(((partition, answer) for partition, answer in answers if answer[0] is not None), None)
            if found is None:
                return None
            partition, ((flat, window_events, window_ms, last, present), users) = found
            generation = present.decode()
            if self._generations.get(partition, "") == generation:
                break
            self._generations[partition] = generation
        else:
            raise Retry("Redis is being rebuilt over and over")
        held = {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
        count = {
            name: int(held[name]) for name in ("events", "play", "pause", "finish", "click", "untyped", "timed", "ms")
        }
        slug = held.get("slug")
        return ContentStats(
            content_id=content_id,
            title=held.get("title"),
            slug=slug,
            content_type=held.get("content_type") or None,
            events=count["events"],
            plays=count["play"],
            pauses=count["pause"],
            finishes=count["finish"],
            clicks=count["click"],
            untyped=count["untyped"],
            unique_users=users,
            engagement_seconds=count["ms"] / 1000,
            avg_engagement_seconds=count["ms"] / 1000 / count["timed"] if count["timed"] else None,
            window_minutes=self._settings.window_minutes,
            window_events=window_events,
            window_engagement_seconds=int(window_ms) / 1000,
            last_event=_recent_event(last) if last else None,
        )

    async def get_recent_events(self, content_id: str, count: int = 50) -> list[RecentEvent]:
        """The latest events by (event_ts, id), latest first; as many as are kept (REDIS_RECENT_EVENTS)."""
        if count < 1:
            return []
        answers = await self._ask("recent", content_id, count)
        return [_recent_event(member) for _, answer in answers for member in answer]

    async def totals(self) -> dict[str, int]:
        """Lifetime totals over everything, as `keys.py` names them; the sums equal SQL's over the same events."""
        sums: dict[str, int] = {}
        for _, flat in await self._ask("totals"):
            for name, value in zip(flat[::2], flat[1::2], strict=True):
                sums[name.decode()] = sums.get(name.decode(), 0) + int(value)
        return sums

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _now(self) -> int:
        return floor_bucket(int(self._now_s() * 1e6))

    async def _ask(self, script: str, *arguments: str | int, users_of: str | None = None) -> list[tuple[int, Any]]:
        """Each partition with the script's answer; a server that forgot the script is told it again.

        With `users_of` each answer is a pair: the script's, and the estimate of that content's users in the
        generation that was the partition's present one when last seen, both of one moment.
        """
        with translated():
            partitions = await self._known_partitions()
            if script not in self._digests:
                await self._load()
            try:
                return await self._ask_once(partitions, script, arguments, users_of)
            except foreign.NoScriptError:
                await self._load()
                return await self._ask_once(partitions, script, arguments, users_of)

    async def _ask_once(
        self, partitions: Sequence[int], script: str, arguments: Sequence[str | int], users_of: str | None
    ) -> list[tuple[int, Any]]:
        prefix = self._settings.prefix
        async with self._client.pipeline(transaction=users_of is not None) as pipe:
            for partition in partitions:
                place = position_key(prefix, partition), tag(prefix, partition)
                pipe.evalsha_ro(self._digests[script], 1, *place, *map(str, arguments))
            if users_of is not None:
                for partition in partitions:
                    generation = self._generations.get(partition, "")
                    pipe.pfcount(f"{generation_tag(prefix, partition, generation)}users:{users_of}")
            answers = await pipe.execute()
        if users_of is not None:
            answers = list(zip(answers[: len(partitions)], answers[len(partitions) :], strict=True))
        return list(zip(partitions, answers, strict=True))

    async def _load(self) -> None:
        digests = await asyncio.gather(*map(self._client.script_load, _SCRIPTS.values()))
        self._digests = dict(zip(_SCRIPTS, digests, strict=True))

    async def _known_partitions(self) -> list[int]:
        now_s = time.monotonic()
        if not self._partitions or now_s - self._partitions_at_s > _PARTITIONS_FOR_S:
            members = await self._client.smembers(partitions_key(self._settings.prefix))
            self._partitions = sorted(int(member) for member in members)
            self._partitions_at_s = now_s
        return self._partitions


def connect(settings: RedisSettings | None = None) -> RedisReader:
    """A reader with the settings given, or those of the environment."""
    return RedisReader(settings or RedisSettings())


def _recent_event(member: bytes) -> RecentEvent:
    return RecentEvent(*_decode_recent(member[ORDER_KEY_LENGTH:]))

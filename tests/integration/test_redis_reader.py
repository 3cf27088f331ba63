"""What readers are told is what the events add up to, as of now, whatever the partitions' clocks say."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import redis

from engagement_stream.errors import Retry
from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis import ContentStats, RecentEvent, RedisReader, RedisSink, TopContent, connect
from engagement_stream.stack.ports import free_port
from tests.fixtures.engagements import COMMIT_TS_US, content_id, iso, record
from tests.fixtures.road import MemoryLog

COMMIT_S = COMMIT_TS_US // 1_000_000
T = TypeVar("T")


def ask(
    settings: RedisSettings, question: Callable[[RedisReader], Coroutine[Any, Any, T]], now_s: float = COMMIT_S
) -> T:
    """One question to a fresh reader."""

    async def asked() -> T:
        async with RedisReader(settings, now_s=lambda: now_s) as reader:
            return await question(reader)

    return asyncio.run(asked())


def deliver(settings: RedisSettings, partitions: dict[int, list[bytes]]) -> None:
    """These records, by the sink."""
    log = MemoryLog()
    for number, values in partitions.items():
        log.append(number, values)
    sink = RedisSink(settings)
    starts = sink.open(sorted(partitions), log.road())
    sink.write(log.slices(starts))
    sink.close()


def test_nothing_is_known_before_anything_happened(redis_settings: RedisSettings) -> None:
    """An empty Redis is no error."""
    assert ask(redis_settings, lambda reader: reader.get_top_content()) == []
    assert ask(redis_settings, lambda reader: reader.get_content_stats(content_id(1))) is None
    assert ask(redis_settings, lambda reader: reader.get_recent_events(content_id(1))) == []
    assert ask(redis_settings, lambda reader: reader.totals()) == {}


def test_the_mission_s_calls_work_as_written(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment alone."""
    monkeypatch.setenv("REDIS_URL", redis_settings.url.get_secret_value())
    deliver(redis_settings, {0: [record(1)]})

    async def mission() -> tuple[object, ...]:
        redis_sink = connect()
        answers = (
            await redis_sink.get_top_content(limit=10),
            await redis_sink.get_content_stats(content_id(1)),
            await redis_sink.get_recent_events(content_id(1), count=50),
        )
        await redis_sink.close()
        return answers

    top, stats, recent = asyncio.run(mission())
    assert top == []  # long ago
    assert isinstance(stats, ContentStats)
    assert isinstance(recent, list)
    assert isinstance(recent[0], RecentEvent)


def test_stats_of_a_content(redis_settings: RedisSettings) -> None:
    """Every figure."""
    old_us = COMMIT_TS_US - 3_600 * 1_000_000
    deliver(
        redis_settings,
        {
            0: [record(1, content=2)],
            1: [
                record(5, event_type="finish", duration_ms=61_001, user=1),
                record(6, event_type="play", duration_ms=None, user=2),
                record(7, event_type=None, duration_ms=-1, user=None),
                record(8, event_type="click", event_ts_us=old_us, title="Newest \u0639\u0646\u0648\u0627\u0646"),
            ],
        },
    )
    assert ask(redis_settings, lambda reader: reader.get_content_stats(content_id(1))) == ContentStats(
        content_id=content_id(1),
        title="Newest \u0639\u0646\u0648\u0627\u0646",
        slug="content-1",
        content_type="podcast",
        events=4,
        plays=1,
        pauses=0,
        finishes=1,
        clicks=1,
        untyped=1,
        unique_users=2,
        engagement_seconds=62.5,
        avg_engagement_seconds=62.5 / 3,
        window_minutes=10,
        window_events=3,
        window_engagement_seconds=61.0,
        last_event=RecentEvent(7, None, iso(COMMIT_TS_US + 7_000), None, "phone", -1, -0.001 / 60 * 100),
    )


def test_recent_events_come_latest_first_and_only_so_many(redis_settings: RedisSettings) -> None:
    """By event time, then by id, not by arrival."""
    moments = {1: 30, 2: 10, 3: 20, 4: 30, 5: 5}
    deliver(
        redis_settings.model_copy(update={"recent_events": 4}),
        {2: [record(n, event_ts_us=COMMIT_TS_US - 100 + at) for n, at in moments.items()]},
    )
    events = ask(redis_settings, lambda reader: reader.get_recent_events(content_id(1), count=3))
    assert [event.event_id for event in events] == [4, 1, 3]
    assert [event.engagement_seconds for event in events] == [1.5] * 3
    assert len(ask(redis_settings, lambda reader: reader.get_recent_events(content_id(1)))) == 4
    assert ask(redis_settings, lambda reader: reader.get_recent_events(content_id(1), count=0)) == []


def test_totals_are_those_of_all_partitions(redis_settings: RedisSettings) -> None:
    """For a ledger to compare with SQL's."""
    deliver(redis_settings, {0: [record(1), record(2, content=None)], 3: [record(3, content=2), b"poison"]})
    totals = ask(redis_settings, lambda reader: reader.totals())
    assert totals == {"events": 3, "play": 3, "ms": 4_500, "timed": 3, "no_content": 1, "dead_letters": 1}


@pytest.mark.parametrize("seed", range(3))
def test_the_ranking_is_exact_at_any_moment(redis_settings: RedisSettings, seed: int) -> None:
    """Partitions stand still at different times; now moves on, and what left the window is not counted."""
    chance = random.Random(seed)
    settings = redis_settings.model_copy(update={"window_minutes": 2})
    partitions: dict[int, list[bytes]] = {}
    happened: list[tuple[int, int, int, int]] = []  # partition, seconds, content, ms
    number = 0
    for partition in range(4):
        until_s = chance.choice([30, 100, 170, 300])
        moments = sorted(chance.randrange(until_s) for _ in range(600))
        values = partitions.setdefault(partition, [])
        for at_s in moments:
            number += 1
            content = chance.choice((1, 2, 3, *range(4, 60))) * 4 + partition
            ms = chance.choice((0, 500, 1_000))
            happened.append((partition, COMMIT_S + at_s, content, ms))
            moment_us = (COMMIT_S + at_s) * 1_000_000
            values.append(record(number, content=content, duration_ms=ms, commit_ts_us=moment_us))
    deliver(settings, partitions)
    newest_s = {p: max(at_s for q, at_s, _, _ in happened if q == p) for p in range(4)}
    for ahead_s in (0, 35, 60, 110, 119, 150, 200, 290, 310, 419, 430):
        now_s = COMMIT_S + ahead_s
        counts: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for partition, at_s, content, ms in happened:
            if at_s // 10 * 10 > max(now_s, newest_s[partition]) // 10 * 10 - 120:
                counts[content][0] += 1
                counts[content][1] += ms
        wanted = sorted(((n, content_id(c), ms / 1000) for c, (n, ms) in counts.items()), reverse=True)
        for limit in (1, 10, 1_000):
            top = ask(settings, lambda reader, limit=limit: reader.get_top_content(limit), now_s)  # type: ignore[misc]  # bound by default
            assert [(t.events, t.content_id, t.engagement_seconds) for t in top] == wanted[:limit]
            assert [t.rank for t in top] == list(range(1, len(top) + 1))
        for _, content, _ in wanted[:3]:
            stats = ask(settings, lambda reader, content=content: reader.get_content_stats(content), now_s)  # type: ignore[misc]  # bound by default
            assert stats is not None
            assert [stats.window_events, content, stats.window_engagement_seconds] in [list(row) for row in wanted]


def test_an_answer_says_what_content_it_is(redis_settings: RedisSettings) -> None:
    """With its title as of the newest event."""
    deliver(redis_settings, {1: [record(1, title="old"), record(2, title="new")]})
    assert ask(redis_settings, lambda reader: reader.get_top_content(1)) == [
        TopContent(1, content_id(1), "new", "content-1", "podcast", 2, 3.0, 10)
    ]
    assert ask(redis_settings, lambda reader: reader.get_top_content(0)) == []


def test_a_reader_outlives_what_happens_to_the_server(redis_settings: RedisSettings, redis_url: str) -> None:
    """Forgotten scripts are told again; a partition that is new is found."""

    async def asked() -> list[int]:
        async with RedisReader(redis_settings, now_s=lambda: COMMIT_S) as reader:
            seen = [len(await reader.get_top_content())]
            deliver(redis_settings, {0: [record(1)]})
            with redis.Redis.from_url(redis_url) as client:
                client.script_flush()
            seen.append(len(await reader.get_top_content()))
            seen.append(len(await asyncio.gather(*(reader.get_top_content() for _ in range(50)))))
            return seen

    assert asyncio.run(asked()) == [0, 1, 50]


def test_a_server_that_is_away_is_an_instruction(redis_settings: RedisSettings) -> None:
    """Retry, as everywhere."""
    away = redis_settings.model_copy(
        update={"url": type(redis_settings.url)(f"redis://127.0.0.1:{free_port()}")},
    )
    with pytest.raises(Retry):
        ask(away, lambda reader: reader.get_top_content())

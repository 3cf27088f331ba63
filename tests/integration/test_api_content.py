"""What the API tells of Redis, after the real sink wrote it there."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from engagement_stream.api.server import serve
from engagement_stream.settings import ApiSettings, RedisSettings
from engagement_stream.sinks.redis import RedisSink
from engagement_stream.stack.ports import free_port
from engagement_stream.stack.valkey import ValkeyServer
from tests.fixtures.api_server import api_server, settings_with
from tests.fixtures.engagements import content_id, record
from tests.fixtures.road import MemoryLog
from tests.fixtures.stack import running, unique
from tests.fixtures.waiting import wait_until

LOOPBACK = ApiSettings.model_construct(host="127.0.0.1", port=0)


@pytest.fixture
def api(redis_settings: RedisSettings) -> Iterator[httpx.Client]:
    """The API as `engagement api` serves it, over an empty Valkey and no stages."""
    settings = settings_with(redis=redis_settings)

    async def run(stop: asyncio.Event, listener: socket.socket) -> None:
        await serve(settings, stop, listener)

    with api_server(run, LOOPBACK) as client:
        yield client


def deliver(redis: RedisSettings, values: list[bytes]) -> None:
    """Through the sink, as the pipeline does."""
    log = MemoryLog()
    log.append(0, values)
    sink = RedisSink(redis)
    try:
        sink.write(log.slices(sink.open([0], log.road())))
    finally:
        sink.close()


def now_us() -> int:
    """Events of the present lie in the window."""
    return time.time_ns() // 1_000


def test_the_ranking_is_by_events_and_obeys_its_limit(api: httpx.Client, redis_settings: RedisSettings) -> None:
    """Hottest first, with all that a page needs to show it."""
    at_us = now_us()
    deliver(
        redis_settings,
        [record(n, content=1 + n % 3 % 2 + n % 6 // 5, commit_ts_us=at_us + n, title="<b>T&T</b>") for n in range(12)],
    )
    body = api.get("/top-content").json()
    assert body["window_minutes"] == 10
    events = [item["events"] for item in body["content"]]
    assert events == sorted(events, reverse=True)
    assert sum(events) == 12
    assert [item["rank"] for item in body["content"]] == list(range(1, len(events) + 1))
    first = body["content"][0]
    assert first["title"] == "<b>T&T</b>"
    assert first["engagement_seconds"] == first["events"] * 1.5
    assert api.get("/top-content?limit=1").json()["content"] == [first]


def test_an_empty_window_is_an_empty_ranking(api: httpx.Client) -> None:
    """Not an error: nothing has happened."""
    answer = api.get("/top-content")
    assert (answer.status_code, answer.json()["content"]) == (200, [])


def test_stats_of_a_content_are_its_lifetime_and_its_window(api: httpx.Client, redis_settings: RedisSettings) -> None:
    """Values, NULLs included; any spelling of the UUID is understood."""
    at_us = now_us()
    deliver(
        redis_settings,
        [
            record(1, content=7, commit_ts_us=at_us, user=1),
            record(2, content=7, commit_ts_us=at_us + 1, user=2, event_type="finish", duration_ms=500),
            record(3, content=7, commit_ts_us=at_us + 2, user=None, event_type=None, duration_ms=None),
        ],
    )
    answer = api.get(f"/content/{content_id(7)}/stats")
    assert answer.status_code == 200, answer.text
    stats = answer.json()
    assert (stats["events"], stats["plays"], stats["finishes"], stats["untyped"]) == (3, 1, 1, 1)
    assert (stats["engagement_seconds"], stats["avg_engagement_seconds"]) == (2.0, 1.0)
    assert (stats["unique_users"], stats["window_events"], stats["title"]) == (2, 3, "Content 7")
    assert (stats["last_event"]["event_id"], stats["last_event"]["duration_ms"]) == (3, None)
    assert api.get(f"/content/{content_id(7).upper().replace('-', '')}/stats").json() == stats


def test_recent_events_come_latest_first(api: httpx.Client, redis_settings: RedisSettings) -> None:
    """As many as asked for."""
    at_us = now_us()
    deliver(redis_settings, [record(n, content=7, commit_ts_us=at_us + n) for n in range(1, 6)])
    body = api.get(f"/content/{content_id(7)}/recent?count=3").json()
    assert [event["event_id"] for event in body["events"]] == [5, 4, 3]
    assert body["content_id"] == content_id(7)
    assert body["events"][0]["engagement_seconds"] == 1.5


def test_without_stages_health_says_which_variable_is_missing(api: httpx.Client) -> None:
    """Down, and why; Redis does not count since nothing writes to it."""
    answer = api.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert "STAGE_ENDPOINTS" in answer.json()["reason"]
    assert answer.json()["dependencies"]["redis"]["required"] is False


def test_the_api_survives_redis_dying_hanging_and_coming_back(stack_dir: Path) -> None:
    """Every answer meanwhile is a sentence within seconds; afterwards the ranking is there again by itself."""
    with running(ValkeyServer(stack_dir / unique("valkey"), free_port())) as server:
        settings = settings_with(redis=RedisSettings(url=SecretStr(server.redis_url)))

        async def run(stop: asyncio.Event, listener: socket.socket) -> None:
            await serve(settings, stop, listener)

        with api_server(run, LOOPBACK) as api:
            deliver(settings.redis, [record(1, commit_ts_us=now_us())])
            before = api.get("/top-content").json()
            assert before["content"]
            faults: list[tuple[Callable[[], None], Callable[[], None]]] = [
                (server.kill, server.start),
                (lambda: server.process.signal(signal.SIGSTOP), lambda: server.process.signal(signal.SIGCONT)),
            ]
            for away, back in faults:
                away()
                began_s = time.monotonic()
                answer = api.get("/top-content")
                assert answer.status_code == 503
                assert answer.headers["retry-after"]
                assert time.monotonic() - began_s < 6
                back()
                wait_until(lambda: api.get("/top-content").json() == before, 10, "the ranking is back")

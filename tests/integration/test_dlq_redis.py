"""Replays into Redis: behind a fence of their own, in the same script as the data, whatever dies in between."""

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from engagement_stream.backoff import Backoff
from engagement_stream.dlq.letter import Filter
from engagement_stream.dlq.positions import Positions
from engagement_stream.model.engagement import encode_enriched
from engagement_stream.observe.metrics import StageMetrics
from engagement_stream.observe.status import StageStatus
from engagement_stream.settings import KafkaSettings, RedisSettings
from engagement_stream.sinks.redis import RedisSink
from engagement_stream.sinks.redis.fold import RedisEvent, decode_event
from engagement_stream.sinks.redis.keys import position_key
from engagement_stream.sinks.runner import SinkStage
from tests.fixtures.dead_letters import operating
from tests.fixtures.http import EnrichedTopic, engagement
from tests.fixtures.redis_model import folded, found
from tests.fixtures.waiting import wait_until


def _decode_as_once(value: bytes) -> RedisEvent:
    event = decode_event(value)
    if event.event_type == "click":
        raise ValueError("this release knows no clicks")
    return event


class EarlierRelease(RedisSink):
    """Refuses what the present one accepts: the cause that an upgrade mends."""

    decoder = staticmethod(_decode_as_once)


@functools.cache
def _metrics() -> StageMetrics:
    return StageMetrics("redis")


@contextmanager
def earlier_release(settings: RedisSettings, kafka: KafkaSettings) -> Iterator[None]:
    """Its stage in a thread."""
    stop = threading.Event()
    stage = SinkStage(EarlierRelease(settings), kafka, StageStatus("redis"), _metrics(), Backoff(0.02, 0.2))
    thread = threading.Thread(target=stage.run, args=(stop,), name="earlier release")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def redis_process(
    settings: RedisSettings, kafka: KafkaSettings, crash_at: str = ""
) -> "Iterator[subprocess.Popen[bytes]]":
    """`engagement stage redis`; killed at the end if it still lives."""
    process = subprocess.Popen(
        [sys.executable, "-m", "engagement_stream.cli", "stage", "redis"],
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_PREFIX": kafka.prefix,
            "KAFKA_TOPIC_ENGAGEMENT_EVENTS": kafka.events_topic,
            "REDIS_URL": settings.url.get_secret_value(),
            "LOG_LEVEL": "error",
            "ENGAGEMENT_CRASH_AT": crash_at,
        },
        cwd=Path("/"),
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_what_an_earlier_release_refused_is_counted_once_after_its_replay(
    kafka_settings: KafkaSettings, redis_settings: RedisSettings, enriched: EnrichedTopic
) -> None:
    """Totals, contents, window and recent events are those of a log that never held a refused record."""
    events = [engagement(n, n % 3, event_type="click" if n % 4 == 0 else "play") for n in range(1, 21)]
    enriched.put(events, partition=1)
    with operating(kafka_settings) as operator:
        with earlier_release(redis_settings, kafka_settings):
            letters = operator.await_letter("redis", 5)
            wait_until(lambda: not Positions(kafka_settings).behind(letters[-1]), 30.0, "its position is past them")
        assert operator.handling.replay(Filter(), "me").done == 5
    for step in ("redis.before_script", "redis.after_script"):
        with redis_process(redis_settings, kafka_settings, step) as doomed:
            assert doomed.wait(60) == -signal.SIGKILL
    with (
        redis_process(redis_settings, kafka_settings),
        redis.Redis.from_url(redis_settings.url.get_secret_value(), decode_responses=True) as client,
    ):
        wait_until(lambda: client.hget(position_key("engagement", 1), "replays_fence"), 60.0, "the replays are counted")
        wait_until(lambda: found(client, 1).totals["events"] >= 20, 60.0, "every event is counted")
        held = found(client, 1)
    # The replays come last: the same events, another order.
    clicks = [event for event in events if event.event_type == "click"]
    log = [event for event in events if event.event_type != "click"] + clicks
    wanted = folded(
        map(encode_enriched, log), window_s=redis_settings.window_minutes * 60, keep=redis_settings.recent_events
    )
    wanted.totals["dead_letters"] = 5
    assert held == wanted

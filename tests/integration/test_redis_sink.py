"""The Redis sink when the server does what servers do: die, forget, fill up; and when a stranger interferes."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from engagement_stream.chaos.proxy import Proxy
from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis import RedisSink
from engagement_stream.sinks.redis.sink import PIECE_RECORDS
from engagement_stream.stack.ports import free_port
from engagement_stream.stack.valkey import ValkeyServer
from tests.contract.sink_contract import POISON
from tests.fixtures.engagements import COMMIT_TS_US, content_id, record
from tests.fixtures.redis_model import folded, found
from tests.fixtures.road import MemoryLog
from tests.fixtures.sink_worker import load_log, save_log, start
from tests.fixtures.stack import running, unique


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Sees what the sink wrote."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def right(client: redis.Redis, log: MemoryLog, settings: RedisSettings) -> bool:
    """Redis holds exactly what the log adds up to."""
    values = [value for _, value in log.records[0]]
    wanted = folded(values, window_s=settings.window_minutes * 60, keep=settings.recent_events)
    here = found(client)
    # An estimate; that it is the same however the log is cut is the property test's to say.
    here.users, wanted.users = {}, {}
    return here == wanted


def filled(events: int) -> MemoryLog:
    """A log over some contents and some minutes."""
    log = MemoryLog()
    log.append(0, [record(n, content=n % 7, commit_ts_us=COMMIT_TS_US + n * 500_000) for n in range(1, events + 1)])
    return log


def deliver(sink: RedisSink, log: MemoryLog, settings: RedisSettings | None = None) -> None:
    """From where it opens to the end, as one slice."""
    start = sink.open([0], log.road())[0]
    if start < log.ends[0]:
        assert sink.write([log.slice(0, start)]).durable == {0: log.ends[0]}


def test_a_batch_larger_than_a_script_takes_is_applied_in_pieces(
    redis_settings: RedisSettings, client: redis.Redis
) -> None:
    """Each with its own place in the log."""
    log = filled(2_600)
    sink = RedisSink(redis_settings)
    start = sink.open([0], log.road())[0]
    receipt = sink.write([log.slice(0, start)])
    assert receipt.records == len(receipt.commit_ts_us) == 2_600
    assert right(client, log, redis_settings)
    assert client.hget("engagement:{0}:position", "fence") == str(log.ends[0])
    sink.close()


def test_one_content_may_fill_a_whole_script(redis_settings: RedisSettings, client: redis.Redis) -> None:
    """As many users and recent events of one content as one call in it ever has to take."""
    settings = redis_settings.model_copy(update={"recent_events": 10_000})
    log = MemoryLog()
    log.append(0, [record(number, user=number) for number in range(1, PIECE_RECORDS + 1)])
    sink = RedisSink(settings)
    deliver(sink, log)
    assert right(client, log, settings)
    sink.close()


def test_a_server_killed_in_the_middle_goes_on_from_what_it_kept(stack_dir: Path) -> None:
    """Its append-only file may miss the last second; fence and totals miss the same."""
    with running(ValkeyServer(stack_dir / unique("valkey"), free_port())) as server:
        settings = RedisSettings(url=SecretStr(server.redis_url))
        client = redis.Redis.from_url(server.redis_url, decode_responses=True)
        log = filled(300)
        sink = RedisSink(settings)
        position = sink.open([0], log.road())[0]
        for end in (100, 200):
            position = sink.write([log.slice(0, position, end)]).durable[0]
        server.kill()
        with pytest.raises(Retry):
            sink.write([log.slice(0, position)])
        server.start()
        with pytest.raises(Reopen):  # the scripts are gone, so everything may be
            sink.write([log.slice(0, position)])
        deliver(sink, log)
        assert right(client, log, settings)
        sink.close()
        client.close()


def test_a_flushed_server_is_filled_again_from_the_log(redis_settings: RedisSettings, client: redis.Redis) -> None:
    """Found by the next write; nobody has to tell."""
    log = filled(50)
    sink = RedisSink(redis_settings)
    deliver(sink, log)
    log.append(0, [record(51)])
    client.flushdb()
    with pytest.raises(Reopen, match="Redis stands at 0"):
        sink.write([log.slice(0, 51)])
    deliver(sink, log)
    assert right(client, log, redis_settings)
    sink.close()


def test_a_flushed_server_halts_when_the_log_no_longer_begins_at_its_beginning(
    redis_settings: RedisSettings, client: redis.Redis
) -> None:
    """Lifetime totals cannot be counted from what is left; the remedy works as it is written."""
    log = filled(50)
    log.trimmed[0] = 10
    sink = RedisSink(redis_settings)
    with pytest.raises(Fatal, match="begins only at 10") as raised:
        sink.open([0], log.road())
    command = raised.value.remedy.rsplit("run: ", 1)[1]
    assert command == "HSET engagement:{0}:position fence 10"
    client.hset("engagement:{0}:position", "fence", 10)
    assert sink.open([0], log.road()) == {0: 10}
    sink.close()


def test_forgotten_scripts_are_loaded_again(redis_settings: RedisSettings, client: redis.Redis) -> None:
    """SCRIPT FLUSH, or a failover to a replica that never saw them."""
    log = filled(20)
    sink = RedisSink(redis_settings)
    sink.open([0], log.road())
    client.script_flush()
    with pytest.raises(Reopen):
        sink.write([log.slice(0, 0)])
    deliver(sink, log)
    assert right(client, log, redis_settings)
    sink.close()


def test_a_full_server_is_waited_for(stack_dir: Path) -> None:
    """Out of memory: nothing is written, not even in part, and the fence stays."""
    with running(ValkeyServer(stack_dir / unique("valkey"), free_port())) as server:
        settings = RedisSettings(url=SecretStr(server.redis_url))
        client = redis.Redis.from_url(server.redis_url, decode_responses=True)
        log = filled(100)
        sink = RedisSink(settings)
        sink.open([0], log.road())
        sink.write([log.slice(0, 0, 40)])
        client.config_set("maxmemory", "1mb")
        before = found(client)
        with pytest.raises(Retry, match="maxmemory"):
            sink.write([log.slice(0, 40)])
        assert found(client) == before
        client.config_set("maxmemory", "0")
        sink.write([log.slice(0, 40)])
        assert right(client, log, settings)
        client.config_set("maxmemory", "1gb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(Fatal, match="evicts"):
            sink.open([0], log.road())
        sink.close()
        client.close()


def test_a_server_that_does_not_answer_is_given_up_after_a_while(
    redis_settings: RedisSettings, valkey_server: ValkeyServer, client: redis.Redis
) -> None:
    """The connection stays open and nothing comes."""
    proxy = Proxy(valkey_server.port)
    database = redis_settings.url.get_secret_value().rsplit("/", 1)[1]
    log = filled(20)
    sink = RedisSink(RedisSettings(url=SecretStr(f"redis://127.0.0.1:{proxy.port}/{database}")))
    sink.open([0], log.road())
    proxy.blackhole()
    with pytest.raises(Retry):
        sink.write([log.slice(0, 0)])
    proxy.heal()
    sink.write([log.slice(0, 0)])
    assert right(client, log, redis_settings)
    sink.close()
    proxy.close()


def test_a_script_that_broke_off_is_never_repeated(redis_settings: RedisSettings, client: redis.Redis) -> None:
    """A stranger's key in the way stops the script in the middle: halt, and the remedy works as it is written."""
    log = filled(20)
    sink = RedisSink(redis_settings)
    sink.open([0], log.road())
    client.set(f"engagement:{{0}}:recent:{content_id(3)}", "a stranger's")
    with pytest.raises(Fatal, match="refuses"):
        sink.write([log.slice(0, 0)])
    with pytest.raises(Fatal, match="broke off") as raised:
        sink.open([0], log.road())
    assert "engagement:{0}:*" in raised.value.remedy
    client.delete(*client.scan_iter("engagement:{0}:*"))
    deliver(sink, log)
    assert right(client, log, redis_settings)
    sink.close()


def test_a_longer_window_keeps_the_totals(redis_settings: RedisSettings, client: redis.Redis) -> None:
    """And a shorter one lets go with the next batch."""
    log = filled(2_000)
    deliver(RedisSink(redis_settings.model_copy(update={"window_minutes": 5})), log)
    shorter = redis_settings.model_copy(update={"window_minutes": 1})
    log.append(0, [record(2_001, content=1, commit_ts_us=COMMIT_TS_US + 1_000_000_000)])
    sink = RedisSink(shorter)
    deliver(sink, log)
    assert right(client, log, shorter)
    sink.close()


def test_late_commits_around_the_window_s_edge_are_in_or_out_by_their_bucket(
    redis_settings: RedisSettings, client: redis.Redis
) -> None:
    """Behind the partition's clock, each in a batch of its own."""
    log = MemoryLog()
    sink = RedisSink(redis_settings.model_copy(update={"window_minutes": 1}))
    position = sink.open([0], log.road())[0]
    for number, late_s in enumerate((0, 49, 50, 51, 59, 60, 61, 69, 70, 71), 1):
        commit_ts_us = COMMIT_TS_US + (5 - late_s) * 1_000_000
        log.append(0, [record(number, content=number, commit_ts_us=commit_ts_us)])
        position = sink.write([log.slice(0, position)]).durable[0]
    assert right(client, log, redis_settings.model_copy(update={"window_minutes": 1}))
    assert len(found(client).window) == 4
    sink.close()


KILLED_AT = [
    f"redis.{when}"
    for when in (
        "before_fences",
        "after_fences",
        "after_window",
        "before_dead_letter",
        "after_dead_letter",
        "before_script",
        "after_script",
    )
]


def test_a_process_killed_at_every_step_loses_and_doubles_nothing(
    redis_settings: RedisSettings, client: redis.Redis, tmp_path: Path
) -> None:
    """One life after the other goes on from the fence; the refused records are in the dead letters, too."""
    log = filled(100)
    for crash_at in [*KILLED_AT, ""]:
        event = log.ends[0]  # larger than any before
        log.append(0, [record(event, content=event % 7), POISON, record(event + 1, content=3)])
        save_log(tmp_path, log)
        with start(tmp_path, redis_settings, crash_at) as process:
            ended = process.wait(60)
        assert ended == (-signal.SIGKILL if crash_at else 0), (crash_at, (tmp_path / "output").read_text())
    assert right(client, log, redis_settings)
    poisoned = [f"redis/{log.topic}/0/{offset}".encode() for offset, value in log.records[0] if value == POISON]
    assert sorted(load_log(tmp_path).letters) == sorted(poisoned)

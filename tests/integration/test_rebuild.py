"""`engagement rebuild redis` while the pipeline runs: afterwards Redis is what a plain fold of everything makes."""

import signal
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from engagement_stream.errors import Fatal
from engagement_stream.rebuild.run import rebuild_redis
from engagement_stream.rebuild.source import RebuildSource
from engagement_stream.settings import KafkaSettings, PostgresSettings, RedisSettings
from engagement_stream.sinks.redis.fold import COUNTERS
from engagement_stream.sinks.redis.generation import NewGeneration
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.postgres import PostgresServer
from engagement_stream.stack.valkey import ValkeyServer
from engagement_stream.verify.report import Place
from engagement_stream.verify.run import verify
from tests.fixtures.rebuild_world import ROOT, STAGES, RebuildWorld
from tests.fixtures.redis_model import Held
from tests.fixtures.stack import unique
from tests.fixtures.waiting import wait_until


@pytest.fixture(scope="module")
def world(
    kafka_server: KafkaServer, postgres_server: PostgresServer, valkey_server: ValkeyServer
) -> Iterator[RebuildWorld]:
    """History that the first copy found, then live events."""
    name, prefix = unique("db_"), unique("t")
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template engagement_template").format(sql.Identifier(name)))
    world = RebuildWorld(
        PostgresSettings(database_url=SecretStr(postgres_server.url_of(name)), slot=unique("slot_")),
        KafkaSettings(bootstrap_servers=kafka_server.bootstrap_servers, events_topic=f"{prefix}-events", prefix=prefix),
        RedisSettings(url=SecretStr(f"{valkey_server.redis_url}/62"), prefix=prefix),
    )
    try:
        yield world
    finally:
        world.close()
        with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as admin:
            admin.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = %s", (name,)
            )
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def differences(held: list[Held], wanted: list[Held]) -> list[str]:
    """What is not the same, short enough to read."""
    return [
        f"partition {number}, {name}: {key} is {here.get(key)}, wanted {there.get(key)}"
        for number, (left, right) in enumerate(zip(held, wanted, strict=True))
        for name in ("totals", "contents", "users", "recent", "window")
        for here, there in [(getattr(left, name), getattr(right, name))]
        for key in sorted({*here, *there})
        if here.get(key) != there.get(key)
    ] + [
        f"partition {number}, clock: {left.clock_us}, wanted {right.clock_us}"
        for number, (left, right) in enumerate(zip(held, wanted, strict=True))
        if left.clock_us != right.clock_us
    ]


def assert_right(world: RebuildWorld) -> None:
    """All of it: counters, users, latest events, window, clock."""
    world.await_all()
    assert differences(world.held(), world.wanted()) == []


def test_before_capture_has_begun_there_is_nothing_to_join(world: RebuildWorld) -> None:
    """Its first copy would count everything a second time."""
    with pytest.raises(Fatal, match="has not begun yet"):
        rebuild_redis(world.settings)


def test_a_rebuild_gives_what_the_sink_gives(world: RebuildWorld) -> None:
    """Every figure, and what comes afterwards joins without a seam."""
    world.add_events(500, future=False)
    world.start(*STAGES)
    world.await_all()
    world.add_events(700)
    world.await_all()
    before = world.held()
    report = world.rebuild()
    assert report.events == world.storable()
    assert report.left_out + report.refused == 1200 // 97 + 2
    world.await_all()
    assert differences(before, world.wanted()) == []
    assert differences(world.held(), before) == []
    world.add_events(400)
    assert_right(world)


def test_a_dry_run_changes_nothing(world: RebuildWorld) -> None:
    """And says what there would be."""

    def position() -> dict[str | bytes, str | bytes]:
        """But for the fence, which an idle sink moves over transaction markers."""
        held = world.redis.hgetall(f"{world.settings.redis.prefix}:{{0}}:position")
        return {name: value for name, value in held.items() if name != "fence"}

    before = position()
    report = rebuild_redis(world.settings, dry_run=True)
    assert (report.redis_events, report.events) == (world.storable(), world.storable())
    assert position() == before


KILLED_AT = [
    "rebuild.before_slot",
    "rebuild.after_slot",
    "rebuild.before_mark",
    "rebuild.after_mark",
    "rebuild.before_begin",
    "rebuild.after_begin",
    "rebuild.before_piece",
    "rebuild.after_piece:3",
    "rebuild.before_switch",
    "rebuild.after_switch",
    "rebuild.before_switch:3",
    "rebuild.before_forget",
    "rebuild.after_forget:6",  # four for what an earlier run left, then what was there before
]


def redis_place(world: RebuildWorld) -> Place:
    """What the ledger says about Redis."""
    report = verify(world.settings, ROOT)
    assert report.unreadable == []
    return next(place for place in report.places if place.name == "redis")


def test_the_ledger_compares_a_rebuilt_redis_from_the_rebuild_on(world: RebuildWorld) -> None:
    """And sees what was changed in it, be it what the rebuild counted or what came after."""
    world.add_events(30)
    world.await_all()
    place = redis_place(world)
    assert (place.rows, place.wrong) == (world.storable(), 0)
    prefix = world.settings.redis.prefix
    name = str(world.redis.hget(f"{prefix}:{{1}}:position", "generation"))
    key = str(next(world.redis.scan_iter(f"{prefix}:{{1}}:{name}:content:*")))
    world.redis.hincrby(key, "events", 3)
    world.redis.hincrby(f"{prefix}:{{1}}:{name}:totals", "events", 1)
    assert redis_place(world).wrong == 3  # and all partitions together are not what PostgreSQL has
    world.redis.hincrby(key, "events", -3)
    world.redis.hincrby(f"{prefix}:{{1}}:{name}:totals", "events", -1)
    assert redis_place(world).wrong == 0


def test_killed_at_any_step_and_run_again_it_is_right(world: RebuildWorld) -> None:
    """Live goes on all the time, and whatever stands in Redis after each death is right too."""
    for crash_at in KILLED_AT:
        process = world.begin_rebuild(crash_at)
        while process.poll() is None:
            world.add_events(20)
            time.sleep(0.05)
        assert process.returncode == -signal.SIGKILL, crash_at
        world.await_all()
    assert_right(world)
    report = world.rebuild()
    assert report.forgotten_keys > 0
    assert_right(world)
    assert_one_generation(world)


def assert_one_generation(world: RebuildWorld) -> None:
    """Nothing that nobody reads is left."""
    prefix = world.settings.redis.prefix
    for number in range(world.settings.kafka.partitions):
        start = f"{prefix}:{{{number}}}:"
        position = world.redis.hgetall(start + "position")
        assert not {"rebuilding", "applying"} & position.keys()
        others = [
            key
            for key in map(str, world.redis.scan_iter(start + "*", count=1_000))
            if not key.startswith((start + str(position["generation"]), start + "position"))
        ]
        assert others == []


def test_two_at_once_one_is_refused(world: RebuildWorld) -> None:
    """By a lock; and where that lock was lost, Redis itself keeps the older one from taking effect."""
    with RebuildSource(world.settings.postgres) as other:
        other.lock(world.settings.redis)
        with pytest.raises(Fatal, match="another rebuild of this Redis is under way"):
            world.rebuild()
    with NewGeneration(world.settings.redis, world.settings.kafka.partitions) as older:
        older.begin()
        older.put(0, "HSET", "totals", "events", 1)
        older.flush()
        world.rebuild()
        with pytest.raises(Fatal, match="another rebuild has begun since"):
            older.switch(0, {"fence": 0})
        older.put(0, "HSET", "totals", "events", 2)  # one that woke up and does not know yet
        older.flush()
    assert_right(world)
    world.rebuild()
    assert_one_generation(world)


def test_one_who_wakes_up_while_deleting_deletes_nothing_of_a_later_rebuild(world: RebuildWorld) -> None:
    """What is in use is asked in the step that deletes."""
    with NewGeneration(world.settings.redis, world.settings.kafka.partitions) as older:
        world.rebuild()
        older.forget_others(lambda _keys: None)
    assert_right(world)


def test_a_server_that_lost_a_piece_is_not_switched(world: RebuildWorld) -> None:
    """Restarted or failed over in the middle: the last commands are gone, and the count of pieces tells."""
    with NewGeneration(world.settings.redis, world.settings.kafka.partitions) as generation:
        generation.begin()
        generation.put(1, "HSET", "totals", "events", 1)
        generation.flush()
        world.redis.decr(f"{world.settings.redis.prefix}:{{1}}:{generation.name}:pieces")
        with pytest.raises(Fatal, match="lost some of what was written"):
            generation.switch(1, {"fence": 0})
        generation.abandon()
    assert_right(world)


def test_a_flushed_server_fills_itself_from_a_whole_log(world: RebuildWorld) -> None:
    """Within the retention nobody has to do anything."""
    world.redis.flushdb()
    world.add_events(10)
    assert_right(world)
    assert world.redis.hget(f"{world.settings.redis.prefix}:{{0}}:position", "generation") is None


def test_a_flushed_server_beyond_the_retention_is_rebuilt(world: RebuildWorld) -> None:
    """The sink halts and names the command; afterwards the totals are SQL's, the log's beginning being gone."""
    wanted = world.wanted()
    world.trim_the_log()
    world.redis.flushdb()
    world.add_events(10)
    wait_until(lambda: world.status("redis").state == "halted", 30, "the sink halts")
    assert "engagement rebuild redis" in world.status("redis").remedy
    world.rebuild()
    world.stop("redis")
    world.start("redis")
    world.await_all()
    assert [held.totals["events"] > right.totals["events"] for held, right in zip(world.held(), wanted, strict=True)]
    counted = [sum(held.totals[name] for held in world.held()) for name in COUNTERS]
    assert counted == world.sql_totals()
    world.add_events(200)
    world.await_all()
    assert redis_place(world).wrong == 0
    assert not any("not compared" in note for note in redis_place(world).notes)
    assert [sum(held.totals[name] for held in world.held()) for name in COUNTERS] == world.sql_totals()

"""The ledger on real servers: nothing is said of what is right, and every planted defect is named."""

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from engagement_stream.settings import BigQuerySettings, KafkaSettings, PostgresSettings, RedisSettings
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.ports import free_port
from engagement_stream.stack.postgres import PostgresServer
from engagement_stream.stack.receiver import ReceiverServer
from engagement_stream.stack.valkey import ValkeyServer
from engagement_stream.verify.report import Kind, Place, Report
from tests.fixtures.ledger_world import STAGES, LedgerWorld
from tests.fixtures.stack import running, unique
from tests.fixtures.waiting import wait_until

_CONTENTS = """
insert into content select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, 'slug-' || g, 'title ' || g,
    'video', nullif(g % 5, 4) * 30, '2025-07-01T00:00:00Z' from generate_series(1, 9) g
"""
_EVENTS = """
insert into engagement_events (content_id, user_id, event_type, event_ts, duration_ms, device, raw_payload)
select ('00000000-0000-4000-8000-' || lpad((1 + g %% 9)::text, 12, '0'))::uuid, gen_random_uuid(),
    (array['play', 'pause', 'finish', 'click', null])[1 + g %% 5], now() - g * interval '1 second',
    nullif(g %% 7, 6) * 999,
    (array['ios', E'\\t"\\\\', 'عربى', null])[1 + g %% 4],
    case g %% 3 when 0 then null when 1 then jsonb_build_object('b', g, 'a', 1.50, 'c', array[1e30, 0.1])
    else '"text"'::jsonb end
from generate_series(1, %s) g
"""
_ONE = (
    "insert into engagement_events (content_id, event_type, event_ts, duration_ms, device)"
    " values ('00000000-0000-4000-8000-000000000001', 'play', now(), 1000, 'planted') returning id"
)
_TAKE_AWAY = "alter publication engagement_publication drop table engagement_events"
_GIVE_BACK = "alter publication engagement_publication add table engagement_events"
_FIRST_CONTENT = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def world(
    stack_dir: Path,
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    bigquery_server: BigQueryServer,
) -> Iterator[LedgerWorld]:
    """History, live events, a content that changes in between, an event that cannot be stored, one changed later."""
    name, prefix = unique("db_"), unique("t")
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template engagement_template").format(sql.Identifier(name)))
    data_dir = Path(tempfile.mkdtemp(dir=stack_dir))
    with running(ReceiverServer(data_dir / "receiver", free_port())) as receiver:
        world = LedgerWorld(
            PostgresSettings(database_url=SecretStr(postgres_server.url_of(name)), slot=unique("slot_")),
            KafkaSettings(
                bootstrap_servers=kafka_server.bootstrap_servers, events_topic=f"{prefix}-events", prefix=prefix
            ),
            RedisSettings(url=SecretStr(f"{valkey_server.redis_url}/63"), prefix=prefix),
            BigQuerySettings(
                project=bigquery_server.project,
                dataset=unique("ds_"),
                rest_endpoint=bigquery_server.rest_endpoint,
                grpc_endpoint=bigquery_server.grpc_endpoint,
            ),
            receiver,
        )
        try:
            world.sql(_CONTENTS)
            world.sql(_EVENTS, 50)
            world.start(*STAGES)
            world.await_raw(50)
            world.sql(_EVENTS, 100)
            world.sql("update content set title = 'another title', length_seconds = 7 where slug = 'slug-1'")
            world.sql(_EVENTS, 150)
            world.sql(
                "insert into engagement_events (event_type, event_ts) values ('click', now()), (null, 'infinity')"
            )
            world.sql("update engagement_events set device = 'changed' where id = 60")
            world.sql("delete from engagement_events where id in (10, 61)")
            yield world
        finally:
            world.stop_all()
            with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as admin:
                admin.execute(
                    "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = %s", (name,)
                )
                admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def clean(world: LedgerWorld) -> Report:
    """A look once everything is delivered, before anything is damaged."""
    return world.await_delivery()


Expected = dict[tuple[str, Kind, str], str]
"""(place, kind, id) -> a part of the detail."""


@pytest.fixture(scope="module")
def damaged(world: LedgerWorld, clean: Report) -> tuple[Report, Expected]:
    """One row deleted, doubled and changed in each place; the report, and what it has to name."""
    assert clean.exit_code == 0
    planted: Expected = {}
    _damage_capture(world, planted)
    world.stop_all()
    _damage_enriched(world, planted)
    _damage_bigquery(world, planted)
    _damage_receiver(world, planted)
    _damage_redis(world, planted)
    return world.look(), planted


def _damage_capture(world: LedgerWorld, planted: Expected) -> None:
    """A row that capture never sees, one that is changed behind its back; then one that proves it went on."""
    world.sql(_TAKE_AWAY)
    ((lost,),) = world.sql(_ONE)
    world.sql("update engagement_events set device = 'tampered' where id = 70")
    world.sql(_GIVE_BACK)
    ((after,),) = world.sql(_ONE)
    world.await_raw(int(str(after)))
    wait_until(lambda: world.receiver.stats().events >= 252, 30.0, "the event after it is delivered")
    twice = world.await_raw(71)
    planted["raw topic", "missing", str(lost)] = ""
    planted["raw topic", "wrong", "70"] = "device"
    planted["raw topic", "doubled", "71"] = "2 times"
    world.stop("enrich")
    world.produce(world.settings.kafka.events_topic, twice, twice.value() or b"")


def _damage_enriched(world: LedgerWorld, planted: Expected) -> None:
    """Two events that enrich passes over, one of which comes in with another title; one comes twice."""
    world.start("capture")
    ((lost,), (wrong,)) = world.sql(_ONE) + world.sql(_ONE)
    messages = [world.await_raw(int(str(i))) for i in (lost, wrong)]
    world.stop("capture")
    world.skip("enrich", world.settings.kafka.events_topic, messages)
    world.produce(
        world.settings.kafka.enriched_topic,
        messages[1],
        msgspec.json.encode(world.expected_of(messages[1], title="no")),
    )
    world.produce_enriched_again(80)
    planted["enriched", "missing", str(lost)] = ""
    planted["enriched", "wrong", str(wrong)] = "title is 'no', should be 'another title'"
    planted["enriched", "doubled", "80"] = "2 times"


def _damage_bigquery(world: LedgerWorld, planted: Expected) -> None:
    from engagement_stream.sinks.bigquery.client import rest_client

    bigquery = world.settings.bigquery
    table = f"`{bigquery.project}.{bigquery.dataset}.engagement_events`"
    client = rest_client(bigquery)
    for statement in (
        f"DELETE FROM {table} WHERE event_id = 90",
        f"INSERT INTO {table} SELECT * FROM {table} WHERE event_id = 91",
        f"UPDATE {table} SET duration_ms = 12345 WHERE event_id = 92",
        f"UPDATE {table} SET slug = 'x' WHERE event_id = 93",
    ):
        client.query(statement).result()
    client.close()  # type: ignore[no-untyped-call]  # untyped upstream
    planted["bigquery", "missing", "90"] = ""
    planted["bigquery", "doubled", "91"] = "2 times"
    planted["bigquery", "wrong", "92"] = "duration_ms is 12345"
    planted["bigquery", "wrong", "93"] = "slug is 'x'"


def _damage_receiver(world: LedgerWorld, planted: Expected) -> None:
    with sqlite3.connect(world.receiver.data_dir / "events.sqlite", timeout=10) as store:
        store.execute("delete from event where id = '100'")
        store.execute("insert into event (id, source, data) select 'again', source, data from event where id = '101'")
        store.execute("update event set data = cast(replace(data, '\"v\":1', '\"v\":2') as blob) where id = '102'")
    store.close()
    planted["receiver", "missing", "100"] = ""
    planted["receiver", "doubled", "101"] = "2 times"
    planted["receiver", "wrong", "102"] = "v is 2, should be 1"


def _damage_redis(world: LedgerWorld, planted: Expected) -> None:
    with world.redis() as client:
        keys = sorted(client.scan_iter(match=f"{world.settings.redis.prefix}:*:content:*"))
        more, gone, renamed = (next(k for k in keys if k.endswith(str(n))) for n in (1, 2, 3))
        client.hincrby(more, "play", 1)
        client.delete(gone)
        client.hset(renamed, "title", "no")
        totals = more.partition("content:")[0] + "totals"
        client.hincrby(totals, "ms", -5)
    planted["redis", "wrong", f"content {more.rpartition(':')[2]}"] = "play is"
    planted["redis", "wrong", f"content {gone.rpartition(':')[2]}"] = "is not there"
    planted["redis", "wrong", f"content {renamed.rpartition(':')[2]}"] = "title"
    partition = totals.partition("{")[2].partition("}")[0]
    planted["redis", "wrong", f"partition {partition}"] = "ms is"


def _place(report: Report, name: str) -> Place:
    return next(place for place in report.places if place.name == name)


def test_a_clean_run_has_nothing_to_report(clean: Report) -> None:
    """Every place was read, every row was found."""
    assert (clean.exit_code, clean.findings, clean.unreadable) == (0, [], [])
    rows = {place.name: place.rows for place in clean.places}
    # 302 events in all; two are deleted in PostgreSQL later, one cannot be stored, 50 are history.
    assert rows == {
        "postgresql": 300,
        "raw topic": 302,
        "enriched": 301,
        "bigquery": 301,
        "receiver": 251,
        "redis": 301,
        "dead letters": 1,
    }
    assert _place(clean, "raw topic").changed_later == 3
    assert _place(clean, "enriched").dead_lettered == 1
    assert _place(clean, "receiver").left_out == 50


def test_every_planted_defect_is_reported_with_its_id(damaged: tuple[Report, Expected]) -> None:
    """And nothing else is: what is behind a position is in flight, not missing."""
    report, planted = damaged
    found = {(f.place, f.kind, f.id): f.detail for f in report.findings}
    assert found.keys() == planted.keys()
    for key, part in planted.items():
        assert part in found[key], (key, found[key])
    assert report.exit_code == 1
    assert all(_place(report, name).in_flight for name in ("bigquery", "receiver", "redis"))


def test_the_command_says_it_with_its_exit_code(world: LedgerWorld, damaged: tuple[Report, Expected]) -> None:
    """For people, and for programs with --json."""
    del damaged
    shown = _verify(world)
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert "doubled: raw topic: 71 2 times" in shown.stdout
    told = msgspec.json.decode(_verify(world, "--json").stdout, type=dict[str, object])
    assert told["exit_code"] == 1
    since = _verify(world, "--since", "2100-01-01")
    assert "raw topic" in since.stdout


def test_a_place_that_cannot_be_read_is_named_and_the_others_are_compared(world: LedgerWorld, clean: Report) -> None:
    """Exit code 2 where nothing is wrong elsewhere; the remedy says what to look at."""
    del clean
    port = free_port()
    shown = _verify(world, REDIS_URL=f"redis://127.0.0.1:{port}", ENABLED_SINKS="redis")
    assert "cannot be read: redis" in shown.stdout
    assert "REDIS_URL" in shown.stdout
    assert "enriched" in shown.stdout


def _verify(world: LedgerWorld, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "engagement_stream.cli", "verify", "--data-dir", str(world.data_dir), *options],
        env={**world.environment(), **environment, "PATH": "", "COLUMNS": "200"},
        cwd=world.data_dir,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

"""The doctor against real servers with planted defects, and against servers that are not there."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest
import redis
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource  # not re-exported
from confluent_kafka.admin._resource import ResourceType
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import SecretStr
from typer.testing import CliRunner

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.capture.progress import ProgressTopic
from engagement_stream.capture.queries import QUERIES
from engagement_stream.cli.app import app
from engagement_stream.cli.doctor import show
from engagement_stream.doctor.examination import Report
from engagement_stream.doctor.run import examine
from engagement_stream.settings import (
    ApiSettings,
    BigQuerySettings,
    HttpSettings,
    KafkaSettings,
    PostgresSettings,
    RedisSettings,
    Settings,
)
from engagement_stream.sinks.bigquery.client import rest_client
from engagement_stream.sinks.bigquery.table import ensure_table
from engagement_stream.stack.ports import free_port
from tests.fixtures.api_server import settings_with
from tests.fixtures.capture import capture
from tests.fixtures.stack import unique
from tests.fixtures.waiting import wait_until


@pytest.fixture
def settings(
    postgres_settings: PostgresSettings,
    kafka_settings: KafkaSettings,
    redis_settings: RedisSettings,
    bigquery_settings: BigQuerySettings,
) -> Settings:
    """Servers with nothing on them yet, and an API port that nobody listens on."""
    return settings_with(
        postgres=postgres_settings,
        kafka=kafka_settings,
        redis=redis_settings,
        bigquery=bigquery_settings,
        api=ApiSettings(port=free_port()),
    )


def _found(report: Report) -> list[str]:
    """check: severity: what, of everything but notes."""
    return [f"{c.name}: {f.severity}: {f.what}" for c in report.checks for f in c.findings if f.severity != "note"]


def _mends(report: Report) -> str:
    return "\n".join(finding.mend for check in report.checks for finding in check.findings)


@contextmanager
def _admin(settings: Settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(settings.postgres.database_url.get_secret_value(), autocommit=True) as connection:
        yield connection


def _keep_for_a_second(kafka: KafkaSettings) -> None:
    """What the enriched topic holds; the broker that is asked hears of it a moment after the controller answered."""
    resource = ConfigResource(ResourceType.TOPIC, kafka.enriched_topic)
    resource.add_incremental_config(ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET))
    brokers = AdminClient({**kafka.client_config()})
    brokers.incremental_alter_configs([resource])[resource].result(10)
    asked = ConfigResource(ResourceType.TOPIC, kafka.enriched_topic)

    def told() -> bool:
        return bool(brokers.describe_configs([asked])[asked].result(10)["retention.ms"].value == "1000")

    wait_until(told, 20.0, "the broker knows of it")


def test_servers_as_they_should_be_before_the_first_start(settings: Settings, tmp_path: Path) -> None:
    """Nothing is wrong; what the first start makes is only noted; and every server was really asked."""
    report = examine(settings, tmp_path)
    assert _found(report) == []
    assert report.exit_code == 0
    saw = {check.name: check.saw for check in report.checks}
    assert "PostgreSQL 18" in saw["postgresql"]
    assert "Kafka 4.0 or newer" in saw["kafka"]
    assert "Valkey 9" in saw["redis"]
    assert "emulator" in saw["bigquery"]
    assert all("clocks agree" in saw[name] for name in ("postgresql", "redis"))
    assert "is made by the first start" in str([check.findings for check in report.checks if check.name == "slot"])


def test_every_planted_defect_is_found_with_the_command_that_mends_it(settings: Settings, tmp_path: Path) -> None:
    """On PostgreSQL, Kafka, Redis, BigQuery and the receiver at once; each finding once."""
    role, kafka = unique("role_"), settings.kafka
    ensure_topics(kafka)
    client = rest_client(settings.bigquery)
    ensure_table(client, settings.bigquery)
    client.delete_table(f"{settings.bigquery.project}.{settings.bigquery.dataset}.hourly_engagement_trends")
    _keep_for_a_second(kafka)
    with _admin(settings) as admin:
        admin.execute(sql.SQL("create role {} login password 'x'").format(sql.Identifier(role)))
        admin.execute("alter table content replica identity default")
        admin.execute("alter publication engagement_publication drop table engagement_events")
    url = settings.postgres.database_url.get_secret_value()
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as server:
        policy = server.config_get("maxmemory-policy")["maxmemory-policy"]
        server.config_set("maxmemory-policy", "volatile-lru")
        try:
            planted = settings_with(
                postgres=PostgresSettings(
                    database_url=SecretStr(f"postgresql://{role}:x@{url.split('@')[1]}"),
                    slot=settings.postgres.slot,
                ),
                kafka=kafka,
                redis=settings.redis,
                bigquery=settings.bigquery,
                api=settings.api,
                http=HttpSettings(url=SecretStr(f"http://127.0.0.1:{free_port()}/events")),
            )
            report = examine(planted, tmp_path)
        finally:
            server.config_set("maxmemory-policy", policy)
            client.close()  # type: ignore[no-untyped-call]  # untyped upstream
            with _admin(settings) as admin:
                admin.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
    found = _found(report)
    for part in (
        f"postgresql: error: the role {role} may not replicate",
        f"postgresql: error: the role {role} may not read content",
        f"postgresql: error: the role {role} may not read engagement_events",
        "postgresql: error: content does not tell whole old rows",
        "postgresql: error: engagement_events is not in the publication",
        f"kafka: warning: topic {kafka.enriched_topic} has retention.ms=1000",
        "redis: warning: maxmemory-policy is volatile-lru",
        "bigquery: warning: there is no view hourly_engagement_trends",
        "receiver: error: nobody answers at 127.0.0.1",
    ):
        assert sum(line.startswith(part) for line in found) == 1, (part, found)
    assert len(found) == 9
    assert report.exit_code == 1
    for command in (
        f"ALTER ROLE {role} REPLICATION",
        f"GRANT SELECT ON content TO {role}",
        "ALTER TABLE content REPLICA IDENTITY FULL",
        "ALTER PUBLICATION engagement_publication ADD TABLE engagement_events",
        f"--entity-name {kafka.enriched_topic} --add-config retention.ms=604800000",
        "CONFIG SET maxmemory-policy noeviction",
        "engagement stage bigquery",
    ):
        assert command in _mends(report)


def test_membership_that_a_managed_server_grants_stands_for_the_attribute(settings: Settings) -> None:
    """Amazon RDS sets REPLICATION for nobody: it has the role rds_replication; gone again with the transaction."""
    role = sql.Identifier(unique("Role_"))
    with (
        _admin(settings) as admin,
        admin.transaction(force_rollback=True),
        admin.cursor(row_factory=dict_row) as cursor,
    ):
        cursor.execute(sql.SQL("create role {}").format(role))

        def asked() -> dict[str, object]:
            cursor.execute(sql.SQL("set local role {}").format(role))
            row = cursor.execute(QUERIES["server"]).fetchone()
            cursor.execute("reset role")
            return row or {}

        plain = asked()
        cursor.execute("create role rds_replication")
        without = asked()
        cursor.execute(sql.SQL("grant rds_replication to {}").format(role))
        assert [answer["replication"] for answer in (plain, without, asked())] == [False, False, True]
        name = role.as_string()
        assert plain["replication_remedy"] == f"ALTER ROLE {name} REPLICATION"
        assert without["replication_remedy"] == f"GRANT rds_replication TO {name}"


def test_a_slot_that_was_dropped_is_told_as_capture_would_tell_it(settings: Settings, tmp_path: Path) -> None:
    """While capture runs all is well, and looking disturbs nothing; then it ends and somebody drops its slot."""
    with capture(settings.postgres, settings.kafka) as process:
        process.wait_for_phase("streaming")
        running = process.wait_for_state("running")
        report = examine(settings, tmp_path)
        assert _found(report) == []
        saw = {check.name: check.saw for check in report.checks}
        assert "active" in saw["slot"]
        assert "clocks agree" in saw["kafka"]
        assert process.wait_for_state("running").since == running.since, "looking disturbed the stage"
        process.stop()
    assert ProgressTopic(settings.kafka, settings.postgres.slot).read().progress is not None
    keys = [message.key() for message in read_range(settings.kafka, settings.kafka.progress_topic, 0, 0)]
    assert keys.count(b"doctor/clock") == 1
    assert "slot: warning: nobody reads the replication slot" in "\n".join(_found(examine(settings, tmp_path)))
    with _admin(settings) as admin:
        admin.execute("select pg_drop_replication_slot(%s)", (settings.postgres.slot,))
    report = examine(settings, tmp_path)
    (found,) = _found(report)
    assert found.startswith(f"slot: error: replication slot {settings.postgres.slot} is gone")
    assert "CAPTURE_SNAPSHOT=never" in _mends(report)


def test_servers_that_are_away_are_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends by itself, tells each of them, and nothing of a password; exit code 1."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    for name, value in {
        "DATABASE_URL": f"postgresql://app:hunter2@127.0.0.1:{port}/db",
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
        "REDIS_URL": f"redis://:hunter2@127.0.0.1:{port}",
        "BIGQUERY_REST_ENDPOINT": f"http://127.0.0.1:{port}",
        "BIGQUERY_GRPC_ENDPOINT": f"127.0.0.1:{port}",
        "EXTERNAL_API_URL": f"https://app:hunter2@127.0.0.1:{port}/",
        "API_PORT": str(port),
    }.items():
        monkeypatch.setenv(name, value)
    began_s = time.monotonic()
    result = CliRunner().invoke(app, ["doctor", "--json", "--data-dir", str(tmp_path)])
    assert time.monotonic() - began_s < 60
    report = json.loads(result.stdout)
    assert result.exit_code == report["exit_code"] == 1
    wrong = {check["name"] for check in report["checks"] if any(f["severity"] == "error" for f in check["findings"])}
    assert wrong == {"postgresql", "kafka", "redis", "bigquery", "receiver"}
    assert all(finding["mend"] for check in report["checks"] for finding in check["findings"])
    assert "hunter2" not in result.output
    show(msgspec.convert(report, Report))
    assert "do: start it, or correct REDIS_URL" in capsys.readouterr().out


def test_a_server_that_swallows_everything_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """It takes connections and says nothing: each check gives up by itself."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        port = silent.getsockname()[1]
        settings = settings_with(
            postgres=PostgresSettings(database_url=SecretStr(f"postgresql://a:b@127.0.0.1:{port}/db")),
            kafka=KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}"),
            redis=RedisSettings(url=SecretStr(f"redis://127.0.0.1:{port}")),
            bigquery=BigQuerySettings(rest_endpoint=f"http://127.0.0.1:{port}", grpc_endpoint=f"127.0.0.1:{port}"),
            api=ApiSettings(port=port),
        )
        report = examine(settings, tmp_path)
    wrong = {check.name for check in report.checks if any(f.severity == "error" for f in check.findings)}
    assert {"postgresql", "kafka", "redis", "bigquery"} <= wrong

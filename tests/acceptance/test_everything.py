"""The whole system as a user runs it: one command, every stage killed in mid-flight, every row compared."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from engagement_stream.settings import (
    ApiSettings,
    BigQuerySettings,
    HttpSettings,
    KafkaSettings,
    PostgresSettings,
    RedisSettings,
    Settings,
    StageSettings,
)
from engagement_stream.stack.receiver import ReceiverServer
from tests.acceptance.commands import ROOT, STAGES, Pipeline, all_gone, announced, run, started
from tests.acceptance.ledger import (
    at_receiver,
    differences,
    in_bigquery,
    in_enriched_topic,
    in_postgres,
    rows_in_bigquery,
    totals_in_postgres,
    totals_in_redis,
)
from tests.fixtures.stack import unique
from tests.fixtures.waiting import wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

_CHUNK = 4_000
_UP = ("engagement_stream.cli", "up", "--no-generator", "--data-dir")


@pytest.fixture
def data_dir(stack_dir: Path) -> Path:
    """A place for the servers' data, open for PostgreSQL's own user to pass through."""
    place = stack_dir / unique("acceptance")
    place.mkdir(mode=0o755)
    return place


def _settings(environment: dict[str, str]) -> Settings:
    """As a process with this environment would have them; ours stays as it is, or the next command would inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return Settings.load()


def _receiver(data_dir: Path, environment: dict[str, str]) -> ReceiverServer:
    port = int(environment["EXTERNAL_API_URL"].split(":")[2].split("/")[0])
    return ReceiverServer(data_dir / "receiver", port)


def _records(pipeline: Pipeline, stage: str) -> object:
    try:
        return pipeline.health()["stages"][stage]["records"]  # no canary counts there
    except (httpx.HTTPError, KeyError):
        return None


def _canaries_pass(pipeline: Pipeline) -> bool:
    stages = pipeline.health()["stages"]
    return all(stages[stage]["canary_age_s"] is not None for stage in STAGES)


def _kill_in_flight(pipeline: Pipeline, stage: str, environment: dict[str, str]) -> None:
    """Write a chunk of events and SIGKILL the stage while it is working on them."""
    before = _records(pipeline, stage)
    writer = subprocess.Popen(
        [sys.executable, "-m", "src.data_generator", "--mode", "batch", "--batch-size", str(_CHUNK)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: _records(pipeline, stage) not in {None, before}, 60.0, f"{stage} to work")
    pid = pipeline.stage_pid(stage)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert writer.wait(60.0) == 0
    wait_until(lambda: pipeline.stage_pid(stage) not in {None, pid}, 60.0, f"{stage} to be started again")


def _wait_until_delivered(settings: Settings, receiver: ReceiverServer) -> None:
    expected = totals_in_postgres(settings)
    wait_until(lambda: totals_in_redis(settings)["events"] >= expected["events"], 120.0, "Redis to have every event")
    wait_until(lambda: receiver.stats().events >= expected["events"], 120.0, "the receiver to have every event")
    wait_until(lambda: rows_in_bigquery(settings) >= expected["events"], 120.0, "BigQuery to have every event")


def _assert_equal_row_by_row(settings: Settings, receiver: ReceiverServer) -> None:
    expected = in_postgres(settings)
    assert differences(expected, in_enriched_topic(settings)) == []
    assert differences(expected, in_bigquery(settings)) == []
    assert differences(expected, at_receiver(receiver)) == []
    assert totals_in_redis(settings) == totals_in_postgres(settings)
    told = receiver.stats(thorough=True)
    assert (told.differing_events, told.differing_requests, told.disorder) == (0, 0, 0)  # repeats are byte-identical


def test_every_stage_killed_once_and_every_row_is_everywhere_exactly_once(data_dir: Path, tmp_path: Path) -> None:
    """20,000 events, each stage killed in mid-flight, a Ctrl-C, a second start: equal value by value."""
    log = tmp_path / "up.log"
    with started(*_UP, str(data_dir), environment={}, log=log) as pipeline:
        environment = announced(data_dir)
        settings = _settings(environment)
        receiver = _receiver(data_dir, environment)
        for stage in STAGES:
            _kill_in_flight(pipeline, stage, environment)
        _wait_until_delivered(settings, receiver)
        assert totals_in_postgres(settings)["events"] == _CHUNK * len(STAGES)
        _assert_equal_row_by_row(settings, receiver)
        wait_until(pipeline.healthy, 60.0, "every stage to be well again")
        wait_until(partial(_canaries_pass, pipeline), 60.0, "a canary behind every stage")
        top = httpx.get(f"http://127.0.0.1:{pipeline.api_port}/top-content?limit=10").json()
        assert len(str(top)) > 100
        family = pipeline.family()
        assert pipeline.interrupt() == 0
    assert all_gone(family) == []

    began_s = time.monotonic()
    with started(*_UP, str(data_dir), environment={}, log=log) as pipeline:
        took_s = time.monotonic() - began_s
        environment = announced(data_dir)
        settings = _settings(environment)
        receiver = _receiver(data_dir, environment)
        run("src.data_generator", "--mode", "batch", "--batch-size", "100", environment=environment)
        _wait_until_delivered(settings, receiver)
        _assert_equal_row_by_row(settings, receiver)
        assert pipeline.interrupt() == 0
    assert took_s < 60  # the figure that is promised (15 s) is the benchmark's to show, on a quiet machine


def test_the_missions_commands_against_servers_that_are_already_there(
    kafka_settings: KafkaSettings,
    database_url: str,
    redis_settings: RedisSettings,
    bigquery_settings: BigQuerySettings,
    tmp_path: Path,
) -> None:
    """`--mode stream` with a copied `.env` and all three generator modes; history and live events are both counted."""
    environment = {
        "DATABASE_URL": database_url,
        "CAPTURE_SLOT": unique("slot_"),
        "KAFKA_BOOTSTRAP_SERVERS": kafka_settings.bootstrap_servers,
        "KAFKA_TOPIC_ENGAGEMENT_EVENTS": kafka_settings.events_topic,
        "KAFKA_PREFIX": kafka_settings.prefix,
        "REDIS_URL": redis_settings.url.get_secret_value(),
        "BIGQUERY_PROJECT_ID": bigquery_settings.project,
        "BIGQUERY_DATASET_ID": bigquery_settings.dataset,
        "BIGQUERY_REST_ENDPOINT": bigquery_settings.rest_endpoint,
        "BIGQUERY_GRPC_ENDPOINT": bigquery_settings.grpc_endpoint,
        "ENGAGEMENT_DATA_DIR": str(tmp_path),
    }
    run("src.data_generator", "--mode", "historical", "--historical-days", "1", environment=environment)
    settings = Settings(
        PostgresSettings(database_url=SecretStr(database_url)),
        kafka_settings,
        redis_settings,
        bigquery_settings,
        HttpSettings(),
        ApiSettings(),
        StageSettings(),
    )
    with started("src.stream_processor", "--mode", "stream", environment=environment, log=tmp_path / "log") as pipeline:
        assert "EXTERNAL_API_URL is empty" in (tmp_path / "log").read_text()
        run("src.data_generator", "--mode", "batch", "--batch-size", "100", environment=environment)
        expected = totals_in_postgres(settings)
        assert expected["events"] == 50_100
        wait_until(lambda: totals_in_redis(settings) == expected, 60.0, "Redis to agree with SQL")
        wait_until(lambda: rows_in_bigquery(settings) == expected["events"], 60.0, "BigQuery to agree with SQL")
        assert pipeline.interrupt() == 0

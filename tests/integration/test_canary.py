"""Canaries pass through real stages, and what stands still while its process lives is told within 30 s."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engagement_stream.settings import KafkaSettings, PostgresSettings, RedisSettings
from tests.fixtures.pipeline import PipelineProcesses
from tests.fixtures.waiting import wait_until

_REPORTED_WITHIN_S = 30.0


@pytest.fixture
def pipeline(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings, redis_settings: RedisSettings, tmp_path: Path
) -> Iterator[PipelineProcesses]:
    """Three real stages and the API, a canary a second."""
    with PipelineProcesses(
        postgres_settings, kafka_settings, redis_settings, tmp_path, CANARY_INTERVAL_SECONDS="1"
    ) as processes:
        yield processes


def _through(pipeline: PipelineProcesses, stage: str, after_us: int = 0) -> bool:
    canary = pipeline.report(stage).canary
    return canary is not None and canary.sent_us is not None and canary.sent_us > after_us


def _age_s(pipeline: PipelineProcesses, stage: str) -> float:
    families = text_string_to_metric_families(pipeline.metrics(stage))
    return next(s.value for f in families for s in f.samples if s.name == "engagement_canary_age_seconds")


def _hung_session(database_url: str) -> int:
    """The server's process behind capture's ordinary session."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend'"
            " and application_name like 'engagement-capture:%'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_canaries_pass_every_stage_and_a_stage_that_stands_still_is_reported_within_thirty_seconds(
    pipeline: PipelineProcesses, postgres_settings: PostgresSettings, redis_settings: RedisSettings
) -> None:
    """No event is written at all: a frozen process, then a call that never returns, show by their silence alone."""
    for stage in pipeline.STAGES:
        wait_until(lambda stage=stage: _through(pipeline, stage), 60, f"a canary behind {stage}")  # type: ignore[misc]  # bound at once
        assert 0 <= _age_s(pipeline, stage) < 60
        assert pipeline.report(stage).records == 0  # it is no record of anybody's
    wait_until(lambda: _all_told(pipeline.health()), 30, "the API has heard of every canary")

    pipeline.signal("redis", signal.SIGSTOP)
    session = _hung_session(postgres_settings.database_url.get_secret_value())
    os.kill(session, signal.SIGSTOP)
    began_s = time.monotonic()
    try:
        wait_until(
            lambda: (
                {name: stage["state"] for name, stage in pipeline.health()["stages"].items()}
                == {"capture": "stalled", "enrich": "running", "redis": "unreachable"}
            ),
            _REPORTED_WITHIN_S + 10,  # the busy machine's; the promise is checked below
            "both to be reported",
        )
        assert time.monotonic() - began_s < _REPORTED_WITHIN_S
        verdict = pipeline.api.get("/health")
        assert verdict.status_code == 503
        assert "a call to the outside hangs" in verdict.json()["stages"]["capture"]["reason"]
        assert verdict.json()["stages"]["capture"]["remedy"]
        assert "no answer" in verdict.json()["stages"]["redis"]["reason"]
    finally:
        os.kill(session, signal.SIGCONT)
        pipeline.signal("redis", signal.SIGCONT)
    resumed_us = time.time_ns() // 1000
    wait_until(lambda: _through(pipeline, "redis", resumed_us), 60, "a canary of after that behind redis")
    wait_until(lambda: pipeline.health().get("status") == "ok", 30, "all is well again")


def _all_told(health: dict[str, Any]) -> bool:
    ages = [stage["canary_age_s"] for stage in health.get("stages", {}).values()]
    return health.get("status") == "ok" and all(age is not None and age >= 0 for age in ages)

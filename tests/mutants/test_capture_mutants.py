"""Mutants of capture: PostgreSQL, Kafka and the ledger over its raw topic."""

from collections.abc import Callable
from pathlib import Path

import psycopg
from pydantic import SecretStr

from engagement_stream.settings import KafkaSettings, PostgresSettings
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.postgres import PostgresServer
from tests.fixtures.capture import CaptureProcess, capture, events_in_topic, first_images
from tests.fixtures.capture_source import BusySource, differences
from tests.fixtures.stack import database, topics_on, unique
from tests.fixtures.waiting import wait_until
from tests.mutants.running import Environment, assert_every_mutant_is_caught
from tests.mutants.stages import CAPTURE

_INSERT = "insert into engagement_events (event_type, event_ts) values ('play', now()) returning id"


def test_every_mutant_of_capture_is_caught(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """And the unchanged product is right in the same scenario."""

    def run(_place: Path, environment: Environment) -> list[str]:
        with database(postgres_server) as url:
            postgres = PostgresSettings(database_url=SecretStr(url), slot=unique("slot_"))
            return _killed(postgres, topics_on(kafka_server), environment)

    assert_every_mutant_is_caught(CAPTURE, run, tmp_path)


def _killed(postgres: PostgresSettings, kafka: KafkaSettings, environment: Environment) -> list[str]:
    with BusySource(postgres) as source:
        source.add_contents(5)
        source.add_history(120)
        with capture(postgres, kafka, **environment) as process:
            process.wait_for_phase("streaming")
            process.stop()
        for nth in (1, 2, 3):  # one of them may hold no rows, only a progress
            source.insert()
            with capture(postgres, kafka, f"capture.before_commit:{nth}", **environment) as process:
                wait_until(lambda: _over(process, source.insert), 60, "it dies before a commit")
        source.add_history(220)  # one transaction, several chunks
        with capture(postgres, kafka, "capture.after_commit:3", **environment) as process:
            wait_until(lambda: _over(process), 60, "it dies in the middle of the transaction")
        with capture(postgres, kafka, **environment) as process:
            for _ in range(20):
                _overlap(postgres, source)
            source.insert()
            last = max(source.images)
            wait_until(lambda: _over(process) or _has(kafka, last), 60, "the last row arrives")
            halted = _halted(process)
            process.stop()
        found = differences(source, events_in_topic(kafka))
        return [f"{finding}{halted}" for finding in found]


def _overlap(postgres: PostgresSettings, source: BusySource) -> None:
    """Two transactions whose commits follow each other without anything between them."""
    url = postgres.database_url.get_secret_value()
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        ids = [connection.execute(_INSERT).fetchone() for connection in (one, other)]
        one.commit()
        other.commit()
    source.remember([row[0] for row in ids if row is not None])


def _has(kafka: KafkaSettings, event_id: int) -> bool:
    return event_id in first_images(events_in_topic(kafka))


def _over(process: CaptureProcess, meanwhile: Callable[[], None] = lambda: None) -> bool:
    meanwhile()
    return not process.running or bool(_halted(process))


def _halted(process: CaptureProcess) -> str:
    report = process.status()
    return f" (capture halted: {report.reason})" if report is not None and report.state == "halted" else ""

"""Capture's canaries: once in every partition whatever dies, never between anybody's rows, and no reason to stop."""

import signal
from collections import Counter
from functools import partial
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from engagement_stream.model.canary import canary_sent_us
from engagement_stream.settings import KafkaSettings, PostgresSettings
from tests.fixtures.capture import CaptureProcess, capture, events_in_topic
from tests.fixtures.capture_source import BusySource, assert_exactly_once, is_complete
from tests.fixtures.stack import unique
from tests.fixtures.waiting import wait_until


@pytest.fixture
def often(postgres_settings: PostgresSettings) -> PostgresSettings:
    """Five canaries a second."""
    return postgres_settings.model_copy(update={"canary_interval_s": 0.2})


def _canaries(kafka: KafkaSettings) -> Counter[int]:
    """Time sent -> in how many records."""
    texts = [change.message.content for change in events_in_topic(kafka) if change.message is not None]
    return Counter(sent_us for text in texts if (sent_us := canary_sent_us(text)) is not None)


def _step_until_dead(source: BusySource, process: CaptureProcess) -> bool:
    source.step()
    return not process.running


def test_killed_around_a_canary_capture_tells_each_once_in_every_partition(
    often: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """A canary that was sent and not yet told comes with the next start; none is told twice, and no row is lost."""
    with BusySource(often) as source:
        source.add_contents(5)
        with capture(often, kafka_settings) as process:  # what is changed before there is a slot is nobody's to tell
            process.wait_for_phase("streaming")
            process.stop()
        for crash_at in ("capture.before_canary:3", "capture.after_canary:3", "capture.after_commit:6"):
            with capture(often, kafka_settings, crash_at) as process:
                wait_until(partial(_step_until_dead, source, process), 60, "the process reaches its crash point")
                assert process.wait_for_end() == -signal.SIGKILL
        before = len(_canaries(kafka_settings))
        with capture(often, kafka_settings) as process:
            wait_until(lambda: len(_canaries(kafka_settings)) > before + 2, 60, "canaries go on")
            wait_until(lambda: is_complete(source, kafka_settings), 60, "everything has arrived")
            process.stop()
        assert_exactly_once(source, kafka_settings)
    told = _canaries(kafka_settings)
    assert set(told.values()) == {kafka_settings.partitions}


def test_a_source_that_takes_no_canaries_is_captured_all_the_same(
    often: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """The refusal is told, and the events go on."""
    admin_url, role = often.database_url.get_secret_value(), unique("reader_")
    function = sql.SQL("function pg_logical_emit_message(boolean, text, text, boolean)")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        name = sql.Identifier(role)
        admin.execute(sql.SQL("create role {} login replication password 'reader'").format(name))
        admin.execute(sql.SQL("grant select on content, engagement_events to {}").format(name))
        admin.execute(sql.SQL("revoke execute on {} from public").format(function))
    parts = urlsplit(admin_url)
    url = parts._replace(netloc=f"{role}:reader@{parts.hostname}:{parts.port}").geturl()
    with BusySource(often) as source:
        source.add_contents(2)
        with capture(often.model_copy(update={"database_url": SecretStr(url)}), kafka_settings) as process:
            process.wait_for_phase("streaming")
            source.insert(5)
            wait_until(lambda: is_complete(source, kafka_settings), 60, "everything has arrived")
            report = process.wait_for_state("running")
            assert "permission denied" in str(report.details["canary_refused"])
            assert report.canary is None
            process.stop()
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))

"""What would be lost is never passed over in silence: capture halts, says what happened and what to do."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from engagement_stream.broker.transaction import outbox
from engagement_stream.capture.progress import Progress, ProgressTopic
from engagement_stream.settings import KafkaSettings, PostgresSettings
from tests.fixtures.capture import capture, events_in_topic
from tests.fixtures.waiting import wait_until


@pytest.fixture
def database(postgres_settings: PostgresSettings) -> Iterator[psycopg.Connection]:
    """A session of the source."""
    with psycopg.connect(postgres_settings.database_url.get_secret_value(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def captured(database: psycopg.Connection, postgres_settings: PostgresSettings, kafka_settings: KafkaSettings) -> None:
    """A slot whose first event is delivered; nobody reads it now."""
    with capture(postgres_settings, kafka_settings) as process:
        process.wait_for_phase("streaming")
        _insert(database)
        wait_until(lambda: events_in_topic(kafka_settings), 20, "the event arrives")
        process.stop()


def _insert(database: psycopg.Connection) -> None:
    database.execute("insert into engagement_events (event_ts) values (now())")


def _drop(database: psycopg.Connection, slot: str) -> None:
    database.execute("select pg_drop_replication_slot(%s)", (slot,))


def _make_anew(database: psycopg.Connection, slot: str) -> None:
    _drop(database, slot)
    _insert(database)
    database.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))


def _advance(database: psycopg.Connection, slot: str) -> None:
    _insert(database)
    database.execute("select pg_replication_slot_advance(%s, pg_current_wal_lsn())", (slot,))


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize(
    ("harm", "reason"),
    [(_drop, "is gone"), (_make_anew, "somebody advanced it or made it anew"), (_advance, "somebody advanced it")],
    ids=["dropped", "made anew", "advanced"],
)
def test_a_slot_that_lost_changes_halts_the_stage(
    database: psycopg.Connection,
    postgres_settings: PostgresSettings,
    kafka_settings: KafkaSettings,
    harm: Callable[[psycopg.Connection, str], None],
    reason: str,
) -> None:
    """PostgreSQL itself would start such a slot without a word."""
    harm(database, postgres_settings.slot)
    with capture(postgres_settings, kafka_settings) as process:
        report = process.wait_for_state("halted")
    assert reason in report.reason
    assert "CAPTURE_SLOT" in report.remedy
    assert "backfill" in report.remedy
    assert len(events_in_topic(kafka_settings)) == 1


def test_the_remedy_of_a_lost_slot_works(
    captured: None, database: psycopg.Connection, postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """A new slot without a copy of old events goes on from now, content included."""
    _drop(database, postgres_settings.slot)
    _insert(database)
    anew = postgres_settings.model_copy(update={"slot": postgres_settings.slot + "_2", "snapshot": "never"})
    with capture(anew, kafka_settings) as process:
        process.wait_for_phase("streaming")
        _insert(database)
        wait_until(lambda: len(events_in_topic(kafka_settings)) == 2, 20, "the new event arrives")
        process.stop()
    assert [
        r.after.id for r in sorted(events_in_topic(kafka_settings), key=lambda r: r.source.position) if r.after
    ] == [
        1,
        3,
    ]


def test_a_slot_without_any_record_of_ours_is_not_touched(
    database: psycopg.Connection, postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """It may be another system's, or our topics are gone: a person has to say."""
    database.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (postgres_settings.slot,))
    with capture(postgres_settings, kafka_settings) as process:
        report = process.wait_for_state("halted")
    assert "no record" in report.reason
    assert postgres_settings.slot in report.remedy


def _rewritten(progress: Progress, field: str, value: object) -> Progress:
    return Progress(**{name: getattr(progress, name) for name in progress.__struct_fields__} | {field: value})


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("system_identifier", "1", "another database cluster"),
        ("timeline", 7, "timeline"),
        ("end_lsn", 1 << 60, "restored from an older state"),
    ],
)
def test_another_cluster_timeline_or_an_older_state_halts_the_stage(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings, field: str, value: object, reason: str
) -> None:
    """What a failover or a restore does, told by a record that remembers another past."""
    topic = ProgressTopic(kafka_settings, postgres_settings.slot)
    progress = topic.read().progress
    assert progress is not None
    out = outbox(kafka_settings, "somebody")
    out.begin()
    topic.write(out, _rewritten(progress, field, value))
    out.commit()
    out.close()
    with capture(postgres_settings, kafka_settings) as process:
        report = process.wait_for_state("halted")
    assert reason in report.reason
    assert report.remedy


def test_a_dropped_column_that_enrichment_needs_halts_after_the_rows_before_it(
    captured: None, database: psycopg.Connection, postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """Rows from before the change are delivered; then the stage halts, running or started anew."""
    with capture(postgres_settings, kafka_settings) as process:
        process.wait_for_phase("streaming")
        _insert(database)
        database.execute("alter table engagement_events drop device")
        _insert(database)
        report = process.wait_for_state("halted")
        assert "column device of table engagement_events is gone" in report.reason
        assert report.remedy
    assert len(events_in_topic(kafka_settings)) == 2
    with capture(postgres_settings, kafka_settings) as process:
        assert "device" in process.wait_for_state("halted").reason


@pytest.mark.parametrize(
    ("harm", "remedy"),
    [
        ("drop publication engagement_publication", "CREATE PUBLICATION"),
        ("alter publication engagement_publication drop table content", "ALTER PUBLICATION"),
        ("alter publication engagement_publication set (publish = 'insert')", "ALTER PUBLICATION"),
        ("alter table content replica identity default", "ALTER TABLE content REPLICA IDENTITY FULL"),
        ("drop table engagement_events", "sql/init.sql"),
    ],
)
def test_what_is_not_set_up_is_waited_for_with_the_command_that_mends_it(
    database: psycopg.Connection,
    postgres_settings: PostgresSettings,
    kafka_settings: KafkaSettings,
    harm: str,
    remedy: str,
) -> None:
    """Nothing is lost before the slot exists: no need to halt."""
    database.execute(harm.encode())
    with capture(postgres_settings, kafka_settings) as process:
        assert remedy in process.wait_for_state("waiting").reason


def test_a_wrong_password_is_waited_for_without_telling_it(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """The reason names the variable, not the secret."""
    url = postgres_settings.database_url.get_secret_value().replace("postgres:postgres@", "postgres:s3cr3t@")
    wrong = PostgresSettings(DATABASE_URL=url, CAPTURE_SLOT=postgres_settings.slot)
    with capture(wrong, kafka_settings) as process:
        reason = process.wait_for_state("waiting").reason
    assert "DATABASE_URL" in reason
    assert "s3cr3t" not in reason

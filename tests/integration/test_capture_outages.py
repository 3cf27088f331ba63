"""Servers that go away and come back, transactions that stay open, tables that stay idle."""

import psycopg
import pytest

from engagement_stream.settings import KafkaSettings, PostgresSettings
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.postgres import PostgresServer
from tests.fixtures.capture import CaptureProcess, capture, events_in_topic, first_images
from tests.fixtures.capture_source import BusySource, assert_exactly_once, is_complete
from tests.fixtures.waiting import wait_until


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_postgres_that_stops_or_dies_costs_and_repeats_nothing(
    postgres_server: PostgresServer, postgres_settings: PostgresSettings, kafka_settings: KafkaSettings, how: str
) -> None:
    """After a crash the slot returns to an older position: what was delivered is passed over."""
    with BusySource(postgres_settings) as source, capture(postgres_settings, kafka_settings) as process:
        source.add_contents(3)
        process.wait_for_phase("copying events")
        for _ in range(30):
            source.step()
        source.connection.close()
        getattr(postgres_server, how)()
        process.wait_for_state("waiting")
        postgres_server.start()
        source.reconnect()
        for _ in range(30):
            source.step()
        wait_until(lambda: is_complete(source, kafka_settings), 60, "everything has arrived")
        process.stop()
        assert_exactly_once(source, kafka_settings)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_kafka_that_stops_or_dies_costs_and_repeats_nothing(
    kafka_server: KafkaServer, postgres_settings: PostgresSettings, kafka_settings: KafkaSettings, how: str
) -> None:
    """The outcome of a commit under way is unknown: back to the record, which knows."""
    with BusySource(postgres_settings) as source, capture(postgres_settings, kafka_settings) as process:
        source.add_contents(3)
        source.add_history(20_000)
        process.wait_for_phase("copying events")
        getattr(kafka_server, how)()
        for _ in range(100):
            source.step()
        process.wait_for_state("waiting", 60)
        kafka_server.start()
        for _ in range(30):
            source.step()
        wait_until(lambda: is_complete(source, kafka_settings), 90, "everything has arrived")
        process.stop()
        assert_exactly_once(source, kafka_settings)


def test_wal_that_piles_up_while_kafka_is_away_is_told(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """It fills the source's disk just then; and the look is no session that a successor would take for a twin."""
    with psycopg.connect(postgres_settings.database_url.get_secret_value(), autocommit=True) as source:
        source.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (postgres_settings.slot,))
        source.execute("select pg_logical_emit_message(false, 'filling', repeat('x', 1000000))")
        away = kafka_settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
        with capture(postgres_settings, away) as process:

            def told() -> bool:
                report = process.status()
                return report is not None and int(report.details.get("slot_lag_bytes") or 0) >= 1_000_000

            wait_until(told, 60, "the slot's WAL is told")
            assert process.wait_for_state("waiting").details["slot_wal_status"] == "reserved"
            names = source.execute("select application_name from pg_stat_activity").fetchall()
            assert not any(name.startswith("engagement-capture:") for (name,) in names)


def test_the_transaction_that_blocks_the_slot_is_named(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """A forgotten prepared transaction holds up the first start; its row arrives once when it is committed."""
    url = postgres_settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("begin")
        session.execute("insert into engagement_events (event_ts) values (now())")
        session.execute("prepare transaction 'forgotten'")
    with capture(postgres_settings, kafka_settings) as process, psycopg.connect(url, autocommit=True) as admin:
        reason = process.wait_for_state("waiting").reason
        assert "prepared transaction 'forgotten'" in reason
        admin.execute("commit prepared 'forgotten'")
        process.wait_for_state("running")
        wait_until(lambda: events_in_topic(kafka_settings), 20, "its row arrives")
        process.stop()
    assert len(events_in_topic(kafka_settings)) == 1


def test_transactions_with_savepoints_that_span_the_snapshot_are_told_once(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """Begun before the snapshot and committed after it: streamed, not copied, also by a copy that goes on later."""
    url = postgres_settings.database_url.get_secret_value()
    insert = "insert into engagement_events (event_ts) values (now())"
    with (
        psycopg.connect(url, autocommit=True) as admin,
        psycopg.connect(url) as first,
        psycopg.connect(url) as second,
        psycopg.connect(url) as spanning,
    ):
        admin.execute("insert into engagement_events (event_ts) select now() from generate_series(1, 20000)")
        first.execute(insert)
        with capture(postgres_settings, kafka_settings, "capture.after_commit:2") as process:
            # A slot waits twice: for what runs at first, then for what runs when that has ended; not for the rest.
            _wait_for_blocker(process, first)
            second.execute(insert)
            first.commit()
            _wait_for_blocker(process, second)
            with spanning.transaction():
                spanning.execute(insert)
                for _ in range(3):
                    with spanning.transaction():
                        spanning.execute(insert)
                second.commit()
                wait_until(lambda: not process.running, 30, "it dies while it copies")
                spanning.execute(insert)
        with capture(postgres_settings, kafka_settings) as process:
            wait_until(lambda: len(first_images(events_in_topic(kafka_settings))) == 20_007, 30, "all arrived")
            process.stop()
    images = first_images(events_in_topic(kafka_settings))
    assert all(len(found) == 1 for found in images.values())
    assert sum(found[0].op == "c" for found in images.values()) == 5


def _wait_for_blocker(process: CaptureProcess, session: psycopg.Connection) -> None:
    def named() -> bool:
        report = process.status()
        return report is not None and f"session {session.info.backend_pid} " in report.reason

    wait_until(named, 20, "the blocking session is named")


def test_an_idle_slot_beside_busy_tables_lets_the_wal_go(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """The server's keep-alives move the slot on although no captured table changes."""
    with (
        psycopg.connect(postgres_settings.database_url.get_secret_value(), autocommit=True) as busy,
        capture(postgres_settings, kafka_settings) as process,
    ):
        process.wait_for_state("running")
        busy.execute("create table busy (text text)")

        def behind() -> int:
            busy.execute("insert into busy select repeat('x', 1000) from generate_series(1, 100)")
            row = busy.execute(
                "select pg_wal_lsn_diff(%s, confirmed_flush_lsn) from pg_replication_slots where slot_name = %s",
                (written, postgres_settings.slot),
            ).fetchone()
            assert row is not None
            return int(row[0])

        busy.execute("insert into busy select repeat('x', 1000) from generate_series(1, 5000)")
        row = busy.execute("select pg_current_wal_lsn()").fetchone()
        assert row is not None
        written = row[0]
        wait_until(lambda: behind() <= 0, 30, "the slot moves past what the busy table wrote")
        process.stop()
    assert events_in_topic(kafka_settings) == []


def test_without_exactly_once_nothing_is_lost_either(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """ENABLE_EXACTLY_ONCE=false: a crash may repeat rows, never lose them."""
    plain = kafka_settings.model_copy(update={"exactly_once": False})
    with BusySource(postgres_settings) as source:
        source.add_contents(3)
        source.add_history(12_000)
        with capture(postgres_settings, plain, "capture.after_commit:3") as process:
            wait_until(lambda: not process.running, 30, "it dies while it copies")
        with capture(postgres_settings, plain, "capture.rows_without_progress") as process:
            source.insert(3)
            for _ in range(100):
                source.step()
            wait_until(lambda: not process.running, 30, "it dies")
        with capture(postgres_settings, plain) as process:
            wait_until(lambda: is_complete(source, plain), 60, "everything has arrived")
            process.stop()
        assert source.images.keys() == first_images(events_in_topic(plain)).keys()

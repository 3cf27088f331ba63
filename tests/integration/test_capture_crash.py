"""A capture process that is killed at any step loses nothing and doubles nothing."""

import signal
from collections.abc import Callable

from engagement_stream.capture.outgoing import MAX_RECORDS
from engagement_stream.pipeline.process import EXIT_FENCED
from engagement_stream.settings import KafkaSettings, PostgresSettings
from tests.fixtures.capture import CaptureProcess, capture, events_in_topic, first_images
from tests.fixtures.capture_source import BusySource, assert_exactly_once, is_complete
from tests.fixtures.waiting import wait_until

MAKING_THE_SLOT = [
    "topics.before_create",
    "topics.after_create",
    "transaction.before_init",
    "transaction.after_init",
    "capture.after_ending_others",
    "capture.after_progress",
    "transaction.before_flush",
    "capture.after_creating_record",
    "capture.before_slot",
    "capture.after_slot",
    "capture.after_import",
    "capture.content_chunk",
    "transaction.before_commit:3",
    "capture.after_content",
]
COPYING = [
    "capture.after_copy_session",
    "capture.after_commit_something",
    "capture.after_start",
    "capture.before_copy",
    "capture.after_copy",
    "capture.before_commit:2",
    "transaction.after_commit:3",
    "capture.before_acknowledge:2",
    "capture.after_acknowledge:3",
    "capture.before_commit:1",
    "capture.after_commit:1",
]
STREAMING = [
    "capture.before_fence",
    "capture.after_fence",
    "capture.before_start",
    "transaction.before_flush:3",
    "capture.before_commit:4",
    "transaction.before_commit:3",
    "transaction.after_commit:4",
    "capture.after_commit:5",
    "capture.before_acknowledge:2",
    "capture.after_acknowledge:2",
    "capture.before_canary",
    "capture.after_canary",
]
AT_LEAST_ONCE = ["plain.before_flush:3", "plain.after_flush:3", "capture.rows_without_progress"]
KILLED_AT = [*MAKING_THE_SLOT, *COPYING, *STREAMING, *AT_LEAST_ONCE]
_CONTENTS = 2 * MAX_RECORDS + 1
"""However they arrive (a piece is at most MAX_RECORDS), a Kafka transaction is full before the last piece is read."""


def _die_busily(process: CaptureProcess, do: Callable[[], None]) -> None:
    """Let it run into its crash point while the source is busy."""

    def dead() -> bool:
        do()
        return not process.running

    wait_until(dead, 60, "the process reaches its crash point")
    assert process.wait_for_end() == -signal.SIGKILL


def test_killed_at_every_step_it_delivers_each_row_once(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """One slot's whole life, a crash at every step, the source busy all the time."""
    with BusySource(postgres_settings) as source:
        source.add_contents(_CONTENTS)
        source.add_history(25_000)
        for crash_at in MAKING_THE_SLOT:  # what is changed before there is a slot is nobody's to tell: only inserts
            with capture(postgres_settings, kafka_settings, crash_at) as process:
                _die_busily(process, source.insert)
        for crash_at in [*COPYING, *STREAMING]:
            canaries = {"CANARY_INTERVAL_SECONDS": "1"} if "canary" in crash_at else {}
            with capture(postgres_settings, kafka_settings, crash_at, **canaries) as process:
                _die_busily(process, source.step)
        with capture(postgres_settings, kafka_settings) as process:
            for _ in range(50):
                source.step()
            wait_until(lambda: is_complete(source, kafka_settings), 60, "everything has arrived")
            process.stop()
        records = assert_exactly_once(source, kafka_settings)
        assert {"r", "c", "u", "d"} <= {record.op for record in records}


def test_without_transactions_a_kill_may_double_and_never_loses(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """ENABLE_EXACTLY_ONCE=false: the progress follows the rows, so the rows in between come again."""
    kafka = kafka_settings.model_copy(update={"exactly_once": False})
    with BusySource(postgres_settings) as source:
        source.add_contents(3)
        for crash_at in AT_LEAST_ONCE:
            with capture(postgres_settings, kafka, crash_at) as process:
                _die_busily(process, source.insert)
        with capture(postgres_settings, kafka) as process:
            wait_until(lambda: is_complete(source, kafka), 60, "everything has arrived")
            process.stop()
        images = first_images(events_in_topic(kafka))
        assert images.keys() == source.images.keys()
        assert all(record.after == source.images[i] for i, found in images.items() for record in found)


def test_a_transaction_larger_than_a_chunk_is_cut_and_survives_kills_in_its_middle(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """The chunks of one transaction are its rows, once, in order, before and after each crash."""
    with BusySource(postgres_settings) as source:
        source.add_contents(3)
        with capture(postgres_settings, kafka_settings) as process:
            process.wait_for_phase("streaming")
            process.stop()
        source.add_history(2 * MAX_RECORDS + 100)
        source.insert(3)
        for crash_at in ("capture.before_commit:2", "transaction.after_commit"):
            with capture(postgres_settings, kafka_settings, crash_at) as process:
                assert process.wait_for_end() == -signal.SIGKILL
        with capture(postgres_settings, kafka_settings) as process:
            wait_until(lambda: is_complete(source, kafka_settings), 60, "everything has arrived")
            process.stop()
        records = assert_exactly_once(source, kafka_settings)
        assert len({record.source.position for record in records}) == len(records)


def test_a_frozen_process_that_wakes_up_after_its_successor_took_over_writes_nothing(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """SIGSTOP, a successor, SIGCONT: the zombie is fenced and ends; each row is there once."""
    with BusySource(postgres_settings) as source:
        source.add_contents(3)
        with capture(postgres_settings, kafka_settings) as zombie:
            zombie.wait_for_phase("streaming")
            source.insert(5)
            wait_until(lambda: is_complete(source, kafka_settings), 30, "the first rows have arrived")
            zombie.signal(signal.SIGSTOP)
            for _ in range(50):
                source.step()
            with capture(postgres_settings, kafka_settings) as successor:
                wait_until(lambda: is_complete(source, kafka_settings), 60, "the successor has taken over")
                zombie.signal(signal.SIGCONT)
                for _ in range(50):
                    source.step()
                wait_until(lambda: is_complete(source, kafka_settings), 60, "everything has arrived")
                assert zombie.wait_for_end() == EXIT_FENCED
                assert successor.running
                successor.stop()
        assert_exactly_once(source, kafka_settings)

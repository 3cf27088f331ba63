"""Transactions on a real broker: every outcome is a clean success or a lost producer, never something between."""

import os
import signal
import threading
import time
from contextlib import suppress

import pytest
from confluent_kafka import TopicPartition

from engagement_stream.broker.consumer import consumer, read_range
from engagement_stream.broker.dead_letter import DeadLetter, DeadLetters
from engagement_stream.broker.topics import ensure_topics, high_watermarks
from engagement_stream.broker.transaction import PlainOutbox, TransactionalOutbox
from engagement_stream.errors import Fatal, Fenced, Retry, TransactionLost
from engagement_stream.settings import KafkaSettings
from engagement_stream.stack.kafka import KafkaServer
from tests.fixtures.raw_road import put_raw
from tests.fixtures.waiting import wait_until


@pytest.fixture
def kafka(kafka_settings: KafkaSettings) -> KafkaSettings:
    """A road with its topics. After a test that froze the lone broker, it may take a while until it leads again."""

    def made() -> bool:
        with suppress(Retry):
            ensure_topics(kafka_settings)
            return True
        return False

    wait_until(made, 60, "topics")
    return kafka_settings


def committed(kafka: KafkaSettings) -> list[bytes | None]:
    return [message.value() for message in read_range(kafka, kafka.events_topic, 0, 0)]


def begun(kafka: KafkaSettings, value: bytes) -> TransactionalOutbox:
    """An outbox with one record on the broker, not committed."""
    outbox = TransactionalOutbox(kafka, f"{kafka.prefix}-x")
    outbox.begin()
    outbox.produce(kafka.events_topic, value, None, 0)
    outbox._live().flush(10)
    return outbox


def test_records_and_offsets_are_committed_together(kafka: KafkaSettings) -> None:
    """What `commit` returned from is readable, and the group stands where it was told."""
    outbox = begun(kafka, b"1")
    outbox.produce_all(kafka.events_topic, [(0, b"2", b"k"), (0, b"3", None)])
    reader = consumer(kafka, kafka.group("test"))
    reader.assign([TopicPartition(kafka.enriched_topic, 0, 0)])
    outbox.commit([TopicPartition(kafka.enriched_topic, 0, 7)], reader)
    assert reader.committed([TopicPartition(kafka.enriched_topic, 0)], 10)[0].offset == 7
    assert committed(kafka) == [b"1", b"2", b"3"]
    reader.close()
    outbox.close()


def test_a_successor_ends_the_transaction_of_its_predecessor_at_once(kafka: KafkaSettings) -> None:
    """No waiting for the timeout of 10 s; the predecessor is told that it is fenced and has written nothing."""
    predecessor = begun(kafka, b"never")
    successor = TransactionalOutbox(kafka, f"{kafka.prefix}-x")
    started_s = time.monotonic()
    successor.renew()
    assert committed(kafka) == []
    assert time.monotonic() - started_s < 8
    with pytest.raises(Fenced):
        predecessor.commit()
    predecessor.close()
    successor.begin()
    successor.produce(kafka.events_topic, b"mine", None, 0)
    successor.commit()
    successor.close()
    assert committed(kafka) == [b"mine"]


def test_a_frozen_broker_neither_hangs_the_commit_nor_the_end_of_the_producer(
    kafka: KafkaSettings, kafka_server: KafkaServer
) -> None:
    """The commit is lost within its bound, dropping the producer takes no time, the next one ends what was open."""
    outbox = begun(kafka, b"never")
    assert kafka_server.pid is not None
    os.kill(kafka_server.pid, signal.SIGSTOP)
    try:
        started_s = time.monotonic()
        with pytest.raises(TransactionLost):
            outbox.commit()
        lost_s = time.monotonic()
        assert lost_s - started_s < 20
        outbox.close()
        assert time.monotonic() - lost_s < 2
    finally:
        os.kill(kafka_server.pid, signal.SIGCONT)
    outbox.renew()
    outbox.begin()
    outbox.produce(kafka.events_topic, b"after", None, 0)
    outbox.commit()
    outbox.close()
    assert committed(kafka) in ([b"after"], [b"never", b"after"])  # the commit's outcome was unknown, not partial


def test_a_commit_slow_enough_to_have_been_sent_twice_renews_the_producer(
    kafka: KafkaSettings, kafka_server: KafkaServer
) -> None:
    """It succeeded, but a late twin of its request could end the next transaction of the same producer."""
    outbox = begun(kafka, b"slow")
    producer, pid = outbox._live(), kafka_server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    waker = threading.Timer(0.6, lambda: os.kill(pid, signal.SIGCONT))
    waker.start()
    outbox.commit()
    waker.join()
    outbox.begin()
    assert outbox._live() is not producer
    outbox.produce(kafka.events_topic, b"next", None, 0)
    outbox.commit()
    assert committed(kafka) == [b"slow", b"next"]
    outbox.close()


def test_reading_to_the_end_waits_for_an_open_transaction_of_somebody_else(kafka: KafkaSettings) -> None:
    """Committed records behind it are hidden until it ends; they are not overlooked."""
    outbox = begun(kafka, b"open")
    put_raw(kafka, kafka.events_topic, (0, b"behind", None))
    ender = threading.Timer(1.0, outbox.commit)
    ender.start()
    assert committed(kafka) == [b"open", b"behind"]
    ender.join()
    outbox.close()
    assert high_watermarks(kafka, kafka.events_topic, 4) == [3, 0, 0, 0]


def test_reading_gives_up_on_what_is_not_there_and_halts_on_what_is_gone(kafka: KafkaSettings) -> None:
    """An open transaction that does not end: Retry. A position beyond the log: Fatal, with a remedy."""
    outbox = begun(kafka, b"open")
    with pytest.raises(Retry, match="could not be read"):
        list(read_range(kafka, kafka.events_topic, 0, 0, timeout_s=1))
    outbox.commit()
    outbox.close()
    with pytest.raises(Fatal, match="no longer in the log"):
        list(read_range(kafka, kafka.events_topic, 0, 500, end=600))
    with pytest.raises(Retry):
        list(read_range(kafka, "no-such-topic", 0, 0))


def test_a_letter_keeps_its_bytes_and_says_where_it_came_from(kafka: KafkaSettings) -> None:
    """Written twice it has the same name, so it is one letter."""
    letter = DeadLetter("redis", "t", 6, 42, b"key", b"\xff\x00", "why", "how " + "x" * 9_000)
    letters = DeadLetters(kafka)
    letters.put([letter])
    letters.put([letter])
    found = list(read_range(kafka, kafka.dlq_topic, 6 % kafka.partitions, 0))
    assert [(m.key(), m.value()) for m in found] == [(b"redis/t/6/42", b"\xff\x00")] * 2
    headers = dict(found[0].headers() or [])
    assert (headers["reason"], headers["partition"], headers["offset"], headers["key"]) == (b"why", b"6", b"42", b"key")
    assert len(headers["detail"] or b"") == 4_000


def test_without_transactions_a_failed_delivery_is_not_swallowed(
    kafka: KafkaSettings, kafka_server: KafkaServer
) -> None:
    """ENABLE_EXACTLY_ONCE=false: acknowledged, or lost and said so."""
    outbox = PlainOutbox(kafka)
    outbox.begin()
    outbox.produce_all(kafka.events_topic, [(0, b"1", None)])
    outbox.commit()
    assert kafka_server.pid is not None
    os.kill(kafka_server.pid, signal.SIGSTOP)
    try:
        outbox.begin()
        outbox.produce(kafka.events_topic, b"2", None, 0)
        with pytest.raises(TransactionLost):
            outbox.commit()
    finally:
        os.kill(kafka_server.pid, signal.SIGCONT)
    outbox.renew()
    outbox.begin()
    outbox.produce(kafka.events_topic, b"2", None, 0)
    outbox.commit()
    outbox.close()
    assert set(committed(kafka)) == {b"1", b"2"}

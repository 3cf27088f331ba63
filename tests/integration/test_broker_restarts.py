"""The one broker is restarted in the middle of transactions: what it acknowledged stays committed, everywhere.

The interleaving: a commit is acknowledged once its outcome is in the transaction log; the markers in the data
partitions follow. In a controlled shutdown the partitions lose their only leader while the coordinator still works,
and that of Kafka 4.3 passes over a partition without a leader and notes the transaction as complete (KAFKA-20734).
Its markers never come, the successor's `init_transactions` aborts what is open, and acknowledged records are gone.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.broker.transaction import TransactionalOutbox
from engagement_stream.errors import Retry, TransactionLost
from engagement_stream.settings import KafkaSettings
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.ports import free_port
from tests.fixtures.stack import running
from tests.fixtures.waiting import wait_until

_RESTARTS = 3
_WRITERS = 6
_PARTITIONS = 24


class Writer(threading.Thread):
    """Commits one record per partition and transaction, and remembers which transactions were acknowledged."""

    def __init__(self, kafka: KafkaSettings, number: int) -> None:
        super().__init__(name=f"writer-{number}")
        self._kafka = kafka
        self._outbox = TransactionalOutbox(kafka, f"{kafka.prefix}-writer-{number}")
        self._ended = threading.Event()
        self.acknowledged: list[bytes] = []

    def run(self) -> None:
        attempt = 0
        while not self._ended.is_set():
            attempt += 1
            value = f"{self.name}/{attempt}".encode()
            # A lost one may be committed or not; the next attempt has another value, so it is not ours to judge.
            with suppress(TransactionLost, Retry):
                self._outbox.begin()
                for partition in range(_PARTITIONS):
                    self._outbox.produce(self._kafka.events_topic, value, None, partition)
                self._outbox.commit()
                self.acknowledged.append(value)
                continue
            self._renew()
        self._outbox.close()

    def _renew(self) -> None:
        while not self._ended.is_set():
            with suppress(Retry):
                self._outbox.renew()
                return
            self._ended.wait(0.1)

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def broker(stack_dir: Path) -> Iterator[KafkaServer]:
    """A broker of this test's own, since it is stopped."""
    with running(KafkaServer(stack_dir / "kafka-restarts", free_port())) as server:
        yield server


def _go_on(writers: list[Writer]) -> None:
    """Every writer commits again, so the next stop finds all of them at work."""
    before = [len(writer.acknowledged) for writer in writers]
    wait_until(
        lambda: all(len(w.acknowledged) > n + 5 for w, n in zip(writers, before, strict=True)),
        60,
        "every writer commits again",
    )


def test_a_clean_restart_of_the_broker_loses_no_acknowledged_transaction(broker: KafkaServer) -> None:
    """Each acknowledged transaction is in every partition exactly once, however often the broker was stopped."""
    kafka = KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers,
        events_topic="restarts-events",
        prefix="restarts",
        partitions=_PARTITIONS,
    )
    ensure_topics(kafka)
    writers = [Writer(kafka, number) for number in range(_WRITERS)]
    for writer in writers:
        writer.start()
    try:
        for restart in range(_RESTARTS):
            _go_on(writers)
            time.sleep(0.11 * restart)  # not always at the same point of the writers' cycle
            broker.stop()
            broker.start()
        _go_on(writers)
    finally:
        for writer in writers:
            writer.end()
    acknowledged = [value for writer in writers for value in writer.acknowledged]
    for partition in range(_PARTITIONS):
        committed = [message.value() for message in read_range(kafka, kafka.events_topic, partition, 0)]
        assert not set(acknowledged) - set(committed), f"lost in partition {partition}"
        assert len(committed) == len(set(committed)), f"doubled in partition {partition}"

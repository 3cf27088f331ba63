"""Kafka transactions whose every outcome is either a clean success or a new producer.

librdkafka does not implement the second half of KIP-890 (librdkafka#5423): an EndTxn request that got lost on the
way and arrives late can end a *later* transaction of the same producer. The cure is to never reuse a producer
whose commit may have been sent twice: a new one gets a higher epoch, which fences every request of the old one.
Two rules follow, and they are all of this file:

- anything but success raises TransactionLost, and the caller goes back to its committed position;
- a commit that succeeded but took long enough for librdkafka to have sent EndTxn (or the offsets, whose late twin
  would move them back) again renews the producer before the next transaction. librdkafka retries no sooner than
  `retry.backoff.ms` less its jitter of 20 % (rd_kafka_broker_buf_retry; every retry of both requests goes through it).

Aborting while the first produce is in flight is fatal for the producer (librdkafka#4849), so nothing is ever
aborted here: destroying the producer and `init_transactions` of the next one abort for us.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from engagement_stream.broker.aside import Aside
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fenced, Retry, TransactionLost
from engagement_stream.settings import KafkaSettings

RETRY_BACKOFF_MS = 250
_SUSPICIOUS_S = RETRY_BACKOFF_MS * 0.8 / 1000
TRANSACTION_TIMEOUT_MS = 10_000
_CALL_TIMEOUT_S = 12.0  # the brokers give a transaction up after its timeout: waiting longer gains nothing
# Handing over offsets takes milliseconds. librdkafka does not notice when its look-up of the coordinator was lost with
# a connection: a stage stands this long after that. Giving up is safe, a successor of the producer goes on.
_OFFSETS_TIMEOUT_S = 4.0
_SOCKET_TIMEOUT_MS = 8_000  # shorter than the transaction's, so that a dead socket is noticed within it
_EPOCH_CODES = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH})  # noqa: SLF001 - public constant
_FENCED_CODES = _EPOCH_CODES | {KafkaError.FENCED_INSTANCE_ID}


Headers = list[tuple[str, str | bytes | None]]
Outgoing = tuple[int, bytes, bytes | None]
"""(partition, value, key): a record without headers, for `produce_all`."""


class Outbox(Protocol):
    """Where a stage puts its output: `begin`, `produce` any number of records, then `commit`.

    `produce` never blocks on the network. `commit` returns when all of it is durable, together with the
    consumer's offsets if given; it raises TransactionLost (or Fenced) otherwise, and then the caller calls
    `renew` and starts again from its committed position.
    """

    def renew(self) -> None: ...
    def begin(self) -> None: ...
    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        headers: Headers | None = None,
    ) -> None: ...
    def produce_all(self, topic: str, records: Sequence[Outgoing]) -> None: ...
    def commit(self, offsets: Sequence[TopicPartition] | None = None, consumer: Consumer | None = None) -> None: ...
    def close(self) -> None: ...


def plain_config(kafka: KafkaSettings) -> dict[str, object]:
    """Configuration of an idempotent producer, the part that transactional and plain ones share."""
    return {
        **kafka.client_config(),
        "enable.idempotence": True,
        "compression.type": "lz4",
        "partitioner": "murmur2_random",
        "message.max.bytes": 8 << 20,
        # For large transactions alone: every commit begins with a flush, which does not wait for it (20 records: 1.4 ms
        # with any value from 0 to 100). With 1 a backlog went out in four times as many requests (decision 25).
        "linger.ms": 10,
        "batch.num.messages": 10_000,
        "batch.size": 1 << 20,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 262_144,
        "socket.timeout.ms": _SOCKET_TIMEOUT_MS,
        "message.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "socket.nagle.disable": True,
    }


class TransactionalOutbox:
    """Exactly once.

    `transactional_id` must be stable per worker: a random one leaves an orphan transaction behind that blocks every
    read_committed reader until it times out.
    """

    def __init__(self, kafka: KafkaSettings, transactional_id: str) -> None:
        self._config = {
            **plain_config(kafka),
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "retry.backoff.ms": RETRY_BACKOFF_MS,
        }
        self._producer: Producer | None = None
        self._aside = Aside("send-offsets")
        self._suspicious = False
        self._began_s = 0.0
        self._name = transactional_id

    def renew(self) -> None:
        """A new producer: fences every older one of the same id and ends its open transaction.

        Raises Retry while the brokers cannot be reached.
        """
        self.close()
        crash_point("transaction.before_init")
        producer = Producer(self._config)
        try:
            # Connects first: without a connection init_transactions misses its first try and sleeps half a second
            # before the next (measured: 510 ms against 60 ms), which every slow commit would pay for.
            producer.list_topics(timeout=_CALL_TIMEOUT_S)
            producer.init_transactions(_CALL_TIMEOUT_S)
        except KafkaException as error:
            raise Retry(f"Kafka does not open transactions for {self._name}: {error.args[0].str()}") from error
        crash_point("transaction.after_init")
        self._producer = producer
        self._suspicious = False

    def begin(self) -> None:
        if self._producer is None or self._suspicious:
            self.renew()
        self._began_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        with self._lost_unless_clean():
            self._live().begin_transaction()

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        headers: Headers | None = None,
    ) -> None:
        _produce(self._live(), topic, value, key, partition, headers)

    def produce_all(self, topic: str, records: Sequence[Outgoing]) -> None:
        _produce_all(self._live(), topic, records)

    def commit(self, offsets: Sequence[TopicPartition] | None = None, consumer: Consumer | None = None) -> None:
        producer = self._live()
        with self._lost_unless_clean():
            # Everything is delivered first: a long flush must not be taken for a retried commit. And the request for
            # the offsets is refused while the former transaction is still being completed, to be repeated only after
            # retry.backoff.ms; once records are delivered, this one has begun for certain.
            crash_point("transaction.before_flush")
            if producer.flush(_CALL_TIMEOUT_S):
                raise TransactionLost("the brokers did not take the records in time")
            if offsets and consumer is not None:
                crash_point("transaction.before_offsets")
                # Fetched anew each time: stale group metadata would fence us, missing metadata would fence nobody.
                group = consumer.consumer_group_metadata()
                with self._suspected_if_slow():
                    _send_offsets(self._aside, producer, list(offsets), group)
                crash_point("transaction.after_offsets")
            crash_point("transaction.before_commit")
            with self._suspected_if_slow():
                producer.commit_transaction(_CALL_TIMEOUT_S)
            crash_point("transaction.after_commit")

    @contextlib.contextmanager
    def _lost_unless_clean(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            open_s = time.clock_gettime(time.CLOCK_BOOTTIME) - self._began_s
            if error.args[0].code() in _EPOCH_CODES and open_s >= TRANSACTION_TIMEOUT_MS / 1000:
                # The brokers end a transaction that is too old the way a successor does, by a higher epoch: we were
                # frozen or they were away. If there is a successor, one of us ends at its next commit.
                raise TransactionLost(f"the transaction was open for {open_s:.0f} s, too long") from error
            raise _lost(error) from error

    @contextlib.contextmanager
    def _suspected_if_slow(self) -> Iterator[None]:
        """Slow enough for librdkafka to have sent the request twice: this producer's last transaction."""
        started_s = time.monotonic()
        yield
        self._suspicious = self._suspicious or time.monotonic() - started_s >= _SUSPICIOUS_S

    def close(self) -> None:
        """Drop the producer with whatever it still holds; its open transaction is ended by the next `renew`.

        Not `Producer.close()`, which aborts first and may wait for a broker that is not there.
        """
        self._aside.close()
        if self._producer is not None:
            self._producer.purge()
        self._producer = None

    def _live(self) -> Producer:
        if self._producer is None:
            raise TransactionLost("no transaction was begun")
        return self._producer


class PlainOutbox:
    """At least once (ENABLE_EXACTLY_ONCE=false): the same calls, no transactions, offsets after the flush."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._failed = 0
        self._config = {
            **plain_config(kafka),
            "delivery.report.only.error": True,
            "on_delivery": self._count_failure,
        }
        self._producer: Producer | None = None

    def _count_failure(self, _error: KafkaError, _message: Message) -> None:
        self._failed += 1

    def renew(self) -> None:
        self.close()
        self._failed = 0
        self._producer = Producer(self._config)

    def begin(self) -> None:
        if self._producer is None:
            self.renew()

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        headers: Headers | None = None,
    ) -> None:
        if self._producer is None:
            raise TransactionLost("begin first")
        _produce(self._producer, topic, value, key, partition, headers)

    def produce_all(self, topic: str, records: Sequence[Outgoing]) -> None:
        if self._producer is None:
            raise TransactionLost("begin first")
        _produce_all(self._producer, topic, records)

    def commit(self, offsets: Sequence[TopicPartition] | None = None, consumer: Consumer | None = None) -> None:
        if self._producer is None:
            raise TransactionLost("begin first")
        with _lost_unless_clean():
            crash_point("plain.before_flush")
            # What timed out is no longer in the queue, it was reported as failed: both count.
            if self._producer.flush(2 * TRANSACTION_TIMEOUT_MS / 1000) or self._failed:
                raise TransactionLost("records were not acknowledged in time")
            crash_point("plain.after_flush")
            if offsets and consumer is not None:
                consumer.commit(offsets=list(offsets), asynchronous=False)
                crash_point("plain.after_offsets")

    def close(self) -> None:
        if self._producer is not None:
            self._producer.purge()
        self._producer = None


def outbox(kafka: KafkaSettings, transactional_id: str) -> Outbox:
    """The outbox that ENABLE_EXACTLY_ONCE asks for."""
    return TransactionalOutbox(kafka, transactional_id) if kafka.exactly_once else PlainOutbox(kafka)


def _produce(
    producer: Producer,
    topic: str,
    value: bytes | None,
    key: bytes | None,
    partition: int,
    headers: Headers | None,
) -> None:
    while True:
        try:
            if headers is None:
                producer.produce(topic, value, key, partition)
            else:
                producer.produce(topic, value, key, partition, headers=headers)
        except BufferError:
            producer.poll(0.05)  # the local queue is full: let deliveries drain
        except KafkaException as error:
            raise _lost(error) from error
        else:
            return


def _produce_all(producer: Producer, topic: str, records: Sequence[Outgoing]) -> None:
    """The hot path: one call into librdkafka per record and nothing else."""
    done, produce = 0, producer.produce
    while done < len(records):
        try:
            for partition, value, key in records[done:] if done else records:
                produce(topic, value, key, partition)
                done += 1
        except BufferError:
            producer.poll(0.05)  # the local queue is full: let deliveries drain
        except KafkaException as error:
            raise _lost(error) from error


def _send_offsets(aside: Aside, producer: Producer, offsets: list[TopicPartition], group: object) -> None:
    """`send_offsets_to_transaction`, bounded from outside.

    Its own timeout does not cover the look-up of the group's coordinator (rd_kafka_coord_req_fsm never looks at
    creq_ts_timeout): when the brokers go away in that moment it may never return. Then it is left behind
    in its thread, with a producer whose epoch the next `renew` makes worthless.
    """

    def call() -> None:
        producer.send_offsets_to_transaction(offsets, group, _OFFSETS_TIMEOUT_S)

    if not aside.call(call, _OFFSETS_TIMEOUT_S + 1):
        raise TransactionLost("the brokers did not take the offsets in time")


def _lost(error: KafkaException) -> TransactionLost:
    problem: KafkaError = error.args[0]
    kind = Fenced if problem.code() in _FENCED_CODES else TransactionLost
    return kind(f"{problem.name()}: {problem.str()}")


@contextlib.contextmanager
def _lost_unless_clean() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise _lost(error) from error

"""The enrich stage: consume, translate, produce; output and offsets in one Kafka transaction.

Two topics are read alike: the raw events, and the dead letters that were sent back here, whose output goes to the
same partition of the enriched topic as if it had been right the first time. Each batch is of one of them.

A batch is handled whole between two polls, so a rebalance never meets an open transaction: revoked or lost, what was
not committed is dropped and read again by whoever owns the partition then. After anything but a clean commit: a new
producer, then back to the committed offsets. Nothing else is forgotten.
"""

import threading
import time
import uuid
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from engagement_stream.backoff import Patience
from engagement_stream.broker.consumer import consumer, raise_unless_transient
from engagement_stream.broker.membership import SeatWatch, sits_elsewhere
from engagement_stream.broker.pause import forget_pauses, wait_paused
from engagement_stream.broker.stall import StallWatch
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.broker.transaction import outbox
from engagement_stream.crashpoint import crash_point
from engagement_stream.enrich.catalog_reader import CatalogReader
from engagement_stream.enrich.start import Place, start_positions
from engagement_stream.enrich.telling import Telling
from engagement_stream.enrich.translate import STAGE, Output, Read, read, translate
from engagement_stream.errors import Fenced, Retry, Stalled, TransactionLost
from engagement_stream.observe.metrics import REOPENED, RETRIES, StageMetrics
from engagement_stream.observe.status import StageStatus
from engagement_stream.observe.tracing import now_ns, tell_batch
from engagement_stream.settings import KafkaSettings

_BATCH_RECORDS = 10_000
_PIECE_RECORDS = 1_000
_IDLE_POLL_S = 1.0
_CATALOG_WAIT_S = 5.0
_LOOK_AROUND_S = 0.5
_STALL_OF_REPLAYS_S = 60.0
_SETTLE_AFTER_S = 3.0
"""Idle time after which the committed offset moves over the transaction markers behind the last record."""


class EnrichStage:
    """One worker of the enrich group; `worker` is stable over restarts (transactional.id, static membership)."""

    def __init__(self, kafka: KafkaSettings, status: StageStatus, metrics: StageMetrics, worker: int = 0) -> None:
        self._kafka, self._status = kafka, status
        self._telling = Telling(kafka, status, metrics)
        self._name = f"{kafka.group(STAGE)}-{worker}"
        self._client_id = f"{self._name}-{uuid.uuid4().hex[:8]}"
        self._outbox = outbox(kafka, self._name)
        self._catalog = CatalogReader(kafka)
        self._patience = Patience()
        self._retry_topic = kafka.retry_topic(STAGE)
        self._assigned: list[Place] = []
        self._assignments = 0
        """Counts rebalances: what was read before the last one is nobody's."""
        self._watches = {
            kafka.events_topic: StallWatch(kafka, kafka.events_topic),
            self._retry_topic: StallWatch(kafka, self._retry_topic, quiet_s=_STALL_OF_REPLAYS_S),
        }
        self._seat = SeatWatch(kafka, kafka.group(STAGE))
        self._producer_lost = True
        self._placed = False
        """The consumer stands at the committed positions."""
        self._next: dict[Place, int] = {}
        """Own next offsets; `position()` drifts while idle."""
        self._log_ends: dict[Place, int] = {}
        self._committed: dict[Place, int] = {}
        self._busy_until_s = 0.0

    def run(self, stop: threading.Event) -> None:
        """Enrich until `stop` is set; raises Fatal when going on would lose or double something, or Fenced."""
        self._status.detail(exactly_once=self._kafka.exactly_once)
        self._patiently(stop, lambda: ensure_topics(self._kafka))
        self._patiently(stop, self._catalog.open)
        while not stop.is_set():
            try:
                self._work(stop)
            except Fenced as reason:
                if self._sits_elsewhere(stop):
                    raise
                self._status.waiting(f"joining the group again: {reason}")
            except Stalled as reason:
                REOPENED.labels(STAGE).inc()
                self._status.waiting(f"joining the group again: {reason}")
        self._status.stopping()
        self._catalog.close()

    def _work(self, stop: threading.Event) -> None:
        """With one consumer, until `stop` is set or that consumer is of no use any more."""
        # Static membership: a worker that was killed and started again takes its partitions back at once, instead
        # of waiting for its own former session to end. The client's name tells two processes of one number apart.
        reader = consumer(
            self._kafka,
            self._kafka.group(STAGE),
            **{"group.instance.id": self._name, "client.id": self._client_id},
        )
        reader.subscribe(list(self._watches), self._on_assign, self._on_revoke, self._on_revoke)
        try:
            while not stop.is_set():
                try:
                    self._step(reader, stop)
                except Retry as reason:
                    self._placed = False  # what was read and not committed is read again
                    self._wait(reader, reason, stop)
                except Fenced:
                    raise
                except TransactionLost as reason:
                    REOPENED.labels(STAGE).inc()
                    self._status.detail(last_reopen=str(reason))
                    self._producer_lost, self._placed = True, False
                    # Long enough to learn from the group whether somebody sits in our place: a zombie that renews
                    # its producer would fence its successor.
                    self._wait(reader, Retry(str(reason), after_s=_LOOK_AROUND_S), stop)
        finally:
            self._outbox.close()
            self._producer_lost, self._placed, self._assigned = True, False, []
            reader.close()

    def _sits_elsewhere(self, stop: threading.Event) -> bool:
        answer = True

        def ask() -> None:
            nonlocal answer
            answer = sits_elsewhere(self._kafka, self._kafka.group(STAGE), self._name, self._client_id)

        self._patiently(stop, ask)
        return answer

    def _step(self, reader: Consumer, stop: threading.Event) -> None:
        if not self._assigned:
            if (message := reader.poll(_IDLE_POLL_S)) is not None:
                self._event(message)
            if not self._assigned:
                self._seat.look(reader)
                if self._patience.failures == 0:
                    self._status.running()  # another worker has every partition: nothing is wrong
            return
        if not self._placed:
            self._place(reader)
        gathered = self._gather(reader)
        for topic, messages in gathered.items():
            self._forward(reader, topic, messages, stop)
        if not gathered and self._placed:
            self._catalog.follow()
            self._settle(reader)
            for topic, watch in self._watches.items():
                watch.look({p: offset for (t, p), offset in self._next.items() if t == topic})
        if self._placed:
            self._telling.lag(reader, self._next, self._catalog)

    def _place(self, reader: Consumer) -> None:
        """Go to the committed positions. The new producer comes first: it ends the old one's transaction."""
        if self._producer_lost:
            self._outbox.renew()
            self._producer_lost = False
        assignments = self._assignments
        crash_point("enrich.before_positions")
        starts = start_positions(self._kafka, reader, self._assigned)
        crash_point("enrich.after_positions")
        if assignments != self._assignments:
            return
        reader.assign([TopicPartition(topic, p, offset) for (topic, p), offset in starts.items()])
        self._next, self._committed, self._log_ends = dict(starts), dict(starts), {}
        self._placed = True
        self._status.canaries.assigned([p for topic, p in starts if topic == self._kafka.events_topic])
        for watch in self._watches.values():
            watch.heard()
        self._healthy()

    def _gather(self, reader: Consumer) -> dict[str, list[Message]]:
        """Wait for a first record, then take what is there: topic -> its records, where there are any."""
        assignments = self._assignments
        first = reader.poll(_IDLE_POLL_S)
        if first is None:
            return {}
        records: dict[str, list[Message]] = {topic: [] for topic in self._watches}
        events: list[Message] = []
        for message in (first, *(reader.consume(_BATCH_RECORDS - 1, 0) or ())):
            if message.error() is None:
                records[message.topic()].append(message)
            else:
                events.append(message)
        # Also when the same poll took the partitions away: a fatal error is told once, and then nothing ever comes.
        for message in events:
            self._event(message)
        if assignments != self._assignments or not self._placed:
            return {}
        told = {message.topic() for message in events}
        for topic, watch in self._watches.items():
            if records[topic] or topic in told:
                watch.heard()
        return {topic: found for topic, found in records.items() if found}

    def _event(self, message: Message) -> None:
        """Handle what is not a record."""
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public constant
                self._log_ends[message.topic() or "", message.partition() or 0] = message.offset() or 0
            else:
                raise_unless_transient(error, message.topic() or self._kafka.events_topic)

    def _forward(self, reader: Consumer, topic: str, messages: Sequence[Message], stop: threading.Event) -> None:
        """One batch, one transaction. What is no longer ours is passed over, and read again by its owner."""
        if not self._placed:
            return
        began_ns, starts = now_ns(), self._next.copy()
        replayed = topic == self._retry_topic
        if replayed:
            self._catalog.open()  # to its end: what was mended before the replay is known to it
        batch = Read()
        read(messages, batch)
        if not self._catalog_covers(reader, batch, stop):
            return
        crash_point("enrich.before_begin")
        self._outbox.begin()
        outputs = [self._produce(piece) for piece in batch.pieces(_PIECE_RECORDS)]
        crash_point("enrich.after_produce")
        self._commit(reader, {(topic, partition): end for partition, end in batch.ends.items()})
        crash_point("enrich.after_commit")
        self._telling.durable(outputs, batch.ends, replayed=replayed)
        tell_batch(
            "enrich.batch",
            began_ns,
            records=sum(len(output.records) for output in outputs),
            commit_ts_us=[] if replayed else [at_us for output in outputs for at_us in output.live_commit_ts_us],
            positions={p: (starts.get((topic, p), end), end) for p, end in batch.ends.items()},
        )

    def _produce(self, piece: Read) -> Output:
        """A piece is on its way to the brokers while the next one is translated: little is left to wait for."""
        output = translate(piece, self._catalog.catalog.versions)
        self._outbox.produce_all(self._kafka.enriched_topic, output.records)
        for letter in output.letters:
            self._outbox.produce(
                self._kafka.dlq_topic, letter.value, letter.name, letter.partition, headers=letter.headers()
            )
        return output

    def _catalog_covers(self, reader: Consumer, batch: Read, stop: threading.Event) -> bool:
        """Wait until content is known as far as the batch needs it; false if the batch is no longer ours.

        There is no open transaction to abort: it begins after this.
        """
        catalog = self._catalog.catalog
        assignments = self._assignments
        if not catalog.covers(batch.needs):
            self._catalog.follow()
        while not catalog.covers(batch.needs):
            try:
                crash_point("enrich.before_catalog_wait")
                self._catalog.wait_for(batch.needs, _CATALOG_WAIT_S)
                crash_point("enrich.after_catalog_wait")
            except Retry as reason:
                self._wait(reader, reason, stop)
                if assignments != self._assignments or stop.is_set():
                    return False
        return True

    def _commit(self, reader: Consumer, ends: dict[Place, int]) -> None:
        offsets = [TopicPartition(topic, p, offset) for (topic, p), offset in ends.items()]
        self._outbox.commit(offsets, reader)
        self._next.update(ends)
        self._committed.update(ends)
        self._busy_until_s = time.monotonic()
        self._healthy()

    def _settle(self, reader: Consumer) -> None:
        """While idle, move committed offsets to the end of the log.

        Behind the last record there are only markers. Retention deletes them with their segment; a position before
        them would then look trimmed.
        """
        if time.monotonic() - self._busy_until_s < _SETTLE_AFTER_S:
            return
        moved = {p: end for p, end in self._log_ends.items() if p in self._committed and end > self._committed[p]}
        if moved:
            crash_point("enrich.before_settle")
            self._outbox.begin()
            self._commit(reader, moved)
            crash_point("enrich.after_settle")

    def _wait(self, reader: Consumer, reason: Retry, stop: threading.Event) -> None:
        RETRIES.labels(STAGE).inc()
        self._status.waiting(str(reason))
        wait_paused(reader, max(self._patience.next_wait_s(), reason.after_s or 0), stop, self._while_paused)

    def _while_paused(self, message: Message | None) -> None:
        if message is None:
            return
        if message.error() is None:
            self._placed = False  # read before the pause took hold: go back to it
        else:
            self._event(message)

    def _patiently(self, stop: threading.Event, call: Callable[[], None]) -> None:
        while not stop.is_set():
            try:
                return call()
            except Retry as reason:
                RETRIES.labels(STAGE).inc()
                self._status.waiting(str(reason))
                stop.wait(self._patience.next_wait_s())
        return None

    def _healthy(self) -> None:
        self._patience.begin_anew()
        self._status.running()

    def _on_assign(self, reader: Consumer, partitions: Sequence[TopicPartition]) -> None:
        # Nothing is fetched yet: the real assignment, with positions, follows in `_place`.
        reader.assign([])
        self._assigned = sorted((p.topic, p.partition) for p in partitions)
        self._assignments += 1
        self._placed = False
        self._seat.seated()

    def _on_revoke(self, reader: Consumer, _partitions: Sequence[TopicPartition]) -> None:
        forget_pauses(reader)
        self._assigned = []
        self._assignments += 1
        self._placed = False
        self._status.canaries.assigned(())
        reader.unassign()

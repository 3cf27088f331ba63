"""One runner for every sink: polls, gathers, writes, and is the only place that decides after an error.

The consumer is assigned nothing until the sink has opened its partitions and told where they go on; while the sink
waits for an unreachable receiver the partitions are paused and polling goes on, or the group would evict us.
Between two polls nothing is in flight, so a rebalance only ever drops what was not yet written.
"""

import contextlib
import threading
import time
from collections.abc import Sequence

from confluent_kafka import Consumer, Message, TopicPartition

from engagement_stream.backoff import Backoff, Patience
from engagement_stream.broker.consumer import consumer
from engagement_stream.broker.membership import SeatWatch
from engagement_stream.broker.pause import forget_pauses, wait_paused
from engagement_stream.broker.retry import replays_of
from engagement_stream.broker.stall import StallWatch
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.errors import EngagementError, Reopen, Retry
from engagement_stream.observe.metrics import REOPENED, RETRIES, StageMetrics
from engagement_stream.observe.status import StageStatus
from engagement_stream.observe.tracing import now_ns, tell_batch
from engagement_stream.settings import KafkaSettings
from engagement_stream.sinks.base import Gather, Sink
from engagement_stream.sinks.intake import take
from engagement_stream.sinks.lag import LagTeller
from engagement_stream.sinks.pending import Pending
from engagement_stream.sinks.road import KafkaRoad

_IDLE_POLL_S = 1.0
_CHUNK_RECORDS = 1_000
"""Taken from the consumer at a time, so that a batch of huge records is noticed before it fills the memory."""

_STALL_OF_REPLAYS_S = 60.0
_FOR_REPLAYS: dict[str, object] = {
    "fetch.wait.max.ms": 5_000,  # nothing comes for days: an answer that waits costs less than many empty ones
    "queued.min.messages": 1_000,
    "queued.max.messages.kbytes": 8_192,
}
_LONGEST_FETCH_WAIT_S = 0.25
# A shorter wait costs more than it saves: asked 20 times a second, an idle broker takes 4 % of a core more (measured).
_SHORTEST_FETCH_WAIT_S = 0.1
_FETCH_AT_LEAST_BYTES = 1 << 20


def fetch_of(gather: Gather) -> dict[str, object]:
    """How a consumer asks whose sink gathers for long: for much, or what there is after half the gathering time.

    Else the brokers answer at the end of each transaction, fifty times a second, and each answer costs both sides.
    """
    wait_s = min(gather.linger_s / 2, _LONGEST_FETCH_WAIT_S)
    if wait_s < _SHORTEST_FETCH_WAIT_S:
        return {}
    return {"fetch.min.bytes": _FETCH_AT_LEAST_BYTES, "fetch.wait.max.ms": round(wait_s * 1000)}


class SinkStage:
    """A sink as a stage process: its own consumer group, so a dead receiver costs the others nothing."""

    def __init__(
        self,
        sink: Sink,
        kafka: KafkaSettings,
        status: StageStatus,
        metrics: StageMetrics,
        backoff: Backoff | None = None,
        *,
        worker: int | None = None,
        replays: bool = False,
    ) -> None:
        """`replays`: read the dead letters that were sent back to this sink instead of the enriched events."""
        self._sink, self._kafka, self._worker = sink, kafka, worker
        self._topic = kafka.retry_topic(sink.name) if replays else kafka.enriched_topic
        self._group = kafka.group(replays_of(sink.name) if replays else sink.name)
        self._overrides = _FOR_REPLAYS if replays else fetch_of(sink.gather)
        self._status, self._metrics = status, metrics
        self._patience = Patience(backoff)
        self._reopened = 0
        self._assigned: list[int] = []
        self._open = False
        self._pending = Pending()
        self._watch = StallWatch(kafka, self._topic, quiet_s=_STALL_OF_REPLAYS_S if replays else None)
        self._seat = SeatWatch(kafka, self._group)
        self._lag = LagTeller(self._topic, metrics, status)

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set.

        Raises Fatal when going on would lose or double something, Stalled when only a new process helps.
        """
        self._ensure_topics(stop)
        reader = self._consumer()
        road = KafkaRoad(self._kafka, reader, self._topic, self._group)
        reader.subscribe([self._topic], self._on_assign, self._on_revoke, self._on_revoke)
        try:
            while not stop.is_set():
                try:
                    self._step(reader, road)
                except Retry as reason:
                    self._wait(reader, reason, stop)
                except Reopen as reason:
                    REOPENED.labels(self._sink.name).inc()
                    self._status.detail(last_reopen=str(reason))
                    self._drop()
                    # Opening succeeds each time, so what grows the wait is how often it had to be done in a row.
                    self._patience.failures = self._reopened
                    self._reopened += 1
                    self._wait(reader, Retry(str(reason)), stop)
            self._status.stopping()
            with contextlib.suppress(Retry, Reopen):
                if self._open and not self._pending.empty:
                    self._write()
        finally:
            self._sink.close()
            reader.close()

    def _consumer(self) -> Consumer:
        """With a worker number the membership is static: a killed worker's successor has its partitions at once.

        Without one the group waits for the dead member's session to end.
        """
        seat = {} if self._worker is None else {"group.instance.id": f"{self._group}-{self._worker}"}
        return consumer(self._kafka, self._group, **seat, **self._overrides)

    def _step(self, reader: Consumer, road: KafkaRoad) -> None:
        if not self._assigned:
            self._take(reader.poll(_IDLE_POLL_S))
            if not self._assigned:
                self._seat.look(reader)
                if self._patience.failures == 0:
                    self._status.running()  # another worker has every partition: nothing is wrong
            return
        if not self._open:
            self._open_sink(reader, road)
        self._gather(reader)
        if self._pending.due(self._sink.gather, time.monotonic()):
            self._write()
        if self._pending.empty:
            self._watch.look(self._pending.positions())
        self._lag.tell(reader, self._pending.positions())

    def _open_sink(self, reader: Consumer, road: KafkaRoad) -> None:
        partitions = list(self._assigned)
        starts = self._sink.open(partitions, road)
        self._pending = Pending(starts)
        reader.assign([TopicPartition(self._topic, p, starts[p]) for p in partitions])
        self._open = True
        self._status.canaries.assigned(partitions)
        self._watch.heard()
        self._healthy()

    def _gather(self, reader: Consumer) -> None:
        """Wait for a first record, then take what is there, and more until the gathering time is over."""
        gather = self._sink.gather
        if self._pending.empty:
            self._take(reader.poll(_IDLE_POLL_S))
        while not self._pending.empty and (room := self._pending.room(gather)) > 0:
            rest_s = self._pending.since_s + gather.linger_s - time.monotonic()
            # In short turns, so that neither a stop nor a long gathering time waits for the other.
            asked = min(room, _CHUNK_RECORDS)
            messages = reader.consume(asked, min(max(rest_s, 0.0), _IDLE_POLL_S)) or []
            self._take_all(messages)
            if len(messages) < asked:
                return

    def _take_all(self, messages: Sequence[Message]) -> None:
        if messages:
            self._watch.heard()
            take(messages, self._pending, self._status.canaries, self._topic)

    def _take(self, message: Message | None) -> None:
        if message is not None:
            self._take_all([message])

    def _write(self) -> None:
        slices = self._pending.slices()
        began_ns, span = now_ns(), f"{self._sink.name}.write"
        positions = {part.partition: (part.prev, part.end) for part in slices}
        try:
            receipt = self._sink.write(slices)
        except EngagementError as error:
            tell_batch(span, began_ns, positions=positions, failed=str(error))
            raise
        self._pending.done(receipt.durable)
        self._status.canaries.durable(receipt.durable)
        tell_batch(span, began_ns, records=receipt.records, commit_ts_us=receipt.commit_ts_us, positions=positions)
        self._metrics.durable(receipt.records, receipt.commit_ts_us)
        self._status.progress(receipt.records)
        self._reopened = 0
        self._healthy()

    def _wait(self, reader: Consumer, reason: Retry, stop: threading.Event) -> None:
        RETRIES.labels(self._sink.name).inc()
        self._status.waiting(str(reason))
        wait_s = self._patience.next_wait_s()

        def each_turn(message: Message | None) -> None:
            self._take(message)
            self._lag.tell_while_waiting(reader, self._assigned, self._pending.positions())

        wait_paused(reader, wait_s if reason.after_s is None else reason.after_s, stop, each_turn)

    def _healthy(self) -> None:
        self._patience.begin_anew()
        self._status.running()

    def _ensure_topics(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                return ensure_topics(self._kafka)
            except Retry as reason:
                self._status.waiting(str(reason))
                stop.wait(self._patience.next_wait_s())
        return None

    def _drop(self) -> None:
        self._open = False
        self._pending = Pending()

    def _on_assign(self, reader: Consumer, partitions: Sequence[TopicPartition]) -> None:
        # Nothing is fetched before the sink has opened: the real assignment follows in `_open_sink`.
        reader.assign([])
        self._drop()
        self._assigned = sorted(p.partition for p in partitions)
        self._seat.seated()

    def _on_revoke(self, reader: Consumer, _partitions: Sequence[TopicPartition]) -> None:
        forget_pauses(reader)
        self._sink.close()
        self._drop()
        self._lag.gone(self._assigned)
        self._assigned = []
        self._status.canaries.assigned(())
        reader.unassign()

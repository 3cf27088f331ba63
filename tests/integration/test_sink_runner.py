"""The runner on a real Kafka, with a sink into memory: whatever happens, each record arrives once and in order."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client import REGISTRY

from engagement_stream.backoff import Backoff
from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.observe.metrics import StageMetrics
from engagement_stream.observe.status import StageStatus
from engagement_stream.settings import KafkaSettings
from engagement_stream.sinks import base as sinks_base
from engagement_stream.sinks.base import Checkpoint, Gather
from engagement_stream.sinks.runner import SinkStage
from engagement_stream.stack.kafka import KafkaServer
from tests.fixtures.memory_sink import MemorySink, Store
from tests.fixtures.waiting import wait_until


class Road:
    """Writes the enriched topic in transactions, as enrich does."""

    def __init__(self, kafka: KafkaSettings) -> None:
        ensure_topics(kafka)
        self.kafka = kafka
        self._producer = Producer({**kafka.client_config(), "transactional.id": f"{kafka.prefix}-test", "log_level": 2})
        self._producer.init_transactions(30)
        self.count = 0

    def put(self, count: int, partitions: int | None = None) -> None:
        """One transaction of `count` records, spread over the partitions."""
        self._producer.begin_transaction()
        for _ in range(count):
            partition = self.count % (partitions or self.kafka.partitions)
            self._producer.produce(self.kafka.enriched_topic, b"%08d" % self.count, partition=partition)
            self.count += 1
        self._producer.commit_transaction(30)

    def abort(self, count: int) -> None:
        """A transaction that never was."""
        self._producer.begin_transaction()
        for number in range(count):
            self._producer.produce(self.kafka.enriched_topic, b"aborted", partition=number % self.kafka.partitions)
        self._producer.flush(30)
        self._producer.abort_transaction(30)

    @property
    def values(self) -> list[bytes]:
        return [b"%08d" % number for number in range(self.count)]


@dataclass
class Worker:
    """A stage in a thread."""

    kafka: KafkaSettings
    sink: MemorySink
    status: StageStatus = field(default_factory=lambda: StageStatus("memory"))
    stop: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            SinkStage(self.sink, self.kafka, self.status, _metrics(), Backoff(0.02, 0.1)).run(self.stop)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def _metrics() -> StageMetrics:
    # One process has one collector of this name; the tests have many stages in one.
    for collector in list(REGISTRY._collector_to_names):
        if "engagement_commit_to_durable_seconds" in REGISTRY._collector_to_names[collector]:
            REGISTRY.unregister(collector)
    return StageMetrics("memory")


@contextmanager
def working(kafka: KafkaSettings, sink: MemorySink) -> Iterator[Worker]:
    """A worker that ends with the test, and without an error."""
    worker = Worker(kafka, sink)
    worker.start()
    try:
        yield worker
    finally:
        worker.end()
    if worker.error is not None:
        raise worker.error


@pytest.fixture
def road(kafka_settings: KafkaSettings) -> Road:
    """An enriched topic of four partitions."""
    return Road(kafka_settings)


def arrives(store: Store, road: Road, timeout_s: float = 20.0) -> None:
    """Everything is there, once; each partition in order."""
    wait_until(lambda: len(store.values) >= road.count, timeout_s, f"{road.count} records delivered")
    assert store.values == road.values
    assert all(part == sorted(part) for part in store.applied.values())


def test_everything_arrives_once_and_in_order(road: Road) -> None:
    """Before and after the start, between aborted transactions."""
    store = Store()
    road.put(2_500)
    with working(road.kafka, MemorySink(store)) as worker:
        arrives(store, road)
        road.abort(40)
        for _ in range(20):
            road.put(7)
        arrives(store, road)
        wait_until(lambda: worker.status.report().records == road.count, 5, "each is counted once")
        assert worker.status.report().state == "running"


def test_a_stop_delivers_what_was_gathered_and_a_new_start_goes_on(road: Road) -> None:
    """A patient sink would have gathered for a minute; the stop does not wait for that."""
    store = Store()
    patient = Gather(max_records=10_000, linger_s=60.0)
    road.put(100)
    with working(road.kafka, MemorySink(store, patient)) as worker:
        wait_until(lambda: worker.status.report().details.get("lag_records") == 104, 20, "gathered, not written")
        assert store.values == []
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 10
    assert store.values == road.values
    road.put(50)
    with working(road.kafka, MemorySink(store)):
        arrives(store, road)


def test_trouble_is_waited_for_and_loses_nothing(road: Road) -> None:
    """Paused partitions and what was gathered before them go on where they were."""
    store = Store()
    sink = MemorySink(store)
    with working(road.kafka, sink) as worker:
        for _ in range(5):
            sink.trouble = [Retry("the receiver is away"), Retry("still away", after_s=0.3), Retry("and again")]
            for _ in range(4):
                road.put(300)
            wait_until(lambda: not sink.trouble, 20, "the trouble was met")
            arrives(store, road)
        assert worker.status.report().state == "running"


def test_waiting_is_visible(road: Road) -> None:
    """State and reason, until it works again."""
    store = Store()
    sink = MemorySink(store, trouble=[Retry("the receiver is away", after_s=1.0)])
    road.put(1)
    with working(road.kafka, sink) as worker:
        wait_until(lambda: worker.status.report().reason == "the receiver is away", 20, "waits, and says why")
        assert worker.status.report().state == "waiting"
        wait_until(lambda: worker.status.report().state == "running", 20, "runs")
        arrives(store, road)


@pytest.mark.parametrize("where", ["trouble", "trouble_at_opening"])
def test_what_waits_during_an_outage_is_counted(road: Road, where: str) -> None:
    """The lag grows while the receiver is away, whether it went away before the sink was open or after."""
    sink = MemorySink(Store())
    setattr(sink, where, [Retry("the receiver is away", after_s=30.0)])
    road.put(60)
    with working(road.kafka, sink) as worker:
        wait_until(lambda: int(worker.status.report().details.get("lag_records") or 0) >= 60, 30, "the lag is told")
        assert (REGISTRY.get_sample_value("engagement_lag_seconds", {"stage": "memory"}) or 0) > 0
        sink.trouble = []


def test_a_sink_that_cannot_open_is_tried_again(road: Road) -> None:
    """Nothing is fetched before."""
    store = Store()
    sink = MemorySink(store, trouble_at_opening=[Retry("away")] * 3)
    road.put(10)
    with working(road.kafka, sink):
        arrives(store, road)


def test_reopening_goes_back_to_the_durable_position(road: Road) -> None:
    """The receiver lost half of what it had, twice."""
    store = Store()
    sink = MemorySink(store)
    with working(road.kafka, sink):
        road.put(400)
        arrives(store, road)
        for _ in range(2):
            with store.lock:
                for number, part in store.applied.items():
                    # 100 records and one marker a transaction stand in each partition
                    del part[50:]
                    store.fences[number] = 50
            sink.trouble = [Reopen("the fence is not where we are")]
            road.put(400)
            arrives(store, road)
    assert len(sink.opened) == 3


def test_a_partial_receipt_is_followed_by_the_rest(road: Road) -> None:
    """Seven records of each partition at a time."""
    store = Store()
    road.put(200)
    with working(road.kafka, MemorySink(store, at_most=7)):
        arrives(store, road)


def test_markers_at_the_end_are_passed_when_it_is_quiet(road: Road) -> None:
    """Retention may delete a marker one day: a position in front of it would be out of range then."""
    store = Store()
    with working(road.kafka, MemorySink(store)) as worker:
        road.put(4)
        road.abort(4)
        wait_until(lambda: store.fences == dict.fromkeys(range(4), 4), 20, "positions behind the markers")
        wait_until(lambda: worker.status.report().details.get("lag_records") == 0, 5, "no phantom lag")
    reader = Consumer({**road.kafka.client_config(), "group.id": road.kafka.group("memory")})
    committed = reader.committed([TopicPartition(road.kafka.enriched_topic, number) for number in range(4)], 10)
    assert [(item.offset, item.metadata) for item in committed] == [(4, "here")] * 4
    reader.close()


def test_two_workers_share_and_hand_over_without_loss_or_double(road: Road) -> None:
    """A second one comes in the middle of the work, the first one leaves, another comes."""
    store = Store()
    first, second, third = (Worker(road.kafka, MemorySink(store)) for _ in range(3))
    first.start()
    road.put(1_000)
    wait_until(lambda: store.values, 20, "the first one works")
    second.start()
    try:
        for _ in range(10):
            road.put(200)
        wait_until(lambda: second.sink.opened and len(first.sink.opened) > 1, 30, "shared")
        assert sorted(first.sink.opened[-1] + second.sink.opened[-1]) == [0, 1, 2, 3]
        road.put(1_000)
        arrives(store, road)
        third.start()
        road.put(1_000)
        first.end()
        road.put(1_000)
        arrives(store, road, 60)
        assert REGISTRY.get_sample_value("engagement_lag_records", {"stage": "memory", "partition": "0"}) is not None
    finally:
        for worker in (first, second, third):
            if not worker.stop.is_set():
                worker.end()
    assert [first.error, second.error, third.error] == [None] * 3


def test_a_rebalance_in_the_middle_of_waiting_is_served(road: Road) -> None:
    """Partitions that were paused for one worker flow again, with it or with the other."""
    store = Store()
    stuck = Worker(road.kafka, MemorySink(store, trouble=[Retry("away", after_s=3.0)]))
    other = Worker(road.kafka, MemorySink(store))
    road.put(100)
    stuck.start()
    wait_until(lambda: stuck.status.report().state == "waiting", 20, "waits")
    other.start()
    wait_until(lambda: other.sink.opened, 20, "the other one got its part meanwhile")
    road.put(100)
    arrives(store, road)
    other.end()
    road.put(100)
    arrives(store, road, 60)
    stuck.end()
    assert [stuck.error, other.error] == [None, None]


def test_a_worker_without_partitions_is_well(road: Road) -> None:
    """Five workers, four partitions."""
    store = Store()
    workers = [Worker(road.kafka, MemorySink(store)) for _ in range(5)]
    for worker in workers:
        worker.start()
    try:
        wait_until(lambda: all(worker.status.report().state == "running" for worker in workers), 60, "all are well")
        road.put(100)
        arrives(store, road)
    finally:
        for worker in workers:
            worker.end()
    assert [worker.error for worker in workers] == [None] * 5


def test_a_position_that_was_trimmed_away_halts_with_a_remedy(road: Road) -> None:
    """Never a jump to the latest or the earliest."""
    store = Store(fences={0: 1_000_000})
    road.put(4)
    worker = Worker(road.kafka, MemorySink(store))
    worker.start()
    worker.thread.join(30)
    assert isinstance(worker.error, Fatal)
    assert worker.error.remedy
    assert worker.sink.closed


def test_the_road_tells_positions_and_reads_the_log_again(road: Road) -> None:
    """The road's own calls, on the runner's consumer and thread."""
    store = Store()
    seen: list[object] = []

    def look(way: sinks_base.Road) -> None:
        seen[:] = [
            way.begins_at([0, 3]),
            way.ends_at([0]),
            way.committed([0, 1]),
            [message.value() for message in way.read(0, 0)],
        ]
        way.dead_letter([DeadLetter("memory", way.topic, 0, 1, None, b"x", "malformed", "no JSON")])

    road.put(4)
    with working(road.kafka, MemorySink(store, look=look)):
        arrives(store, road)
        wait_until(lambda: store.fences == dict.fromkeys(range(4), 2), 20, "quiet")
        road.put(1, partitions=1)
        arrives(store, road)
    assert seen == [
        {0: 0, 3: 0},
        {0: 4},
        {0: Checkpoint(2, "here"), 1: Checkpoint(2, "here")},
        [b"00000000", b"00000004"],
    ]
    letters = [m for number in range(4) for m in read_range(road.kafka, road.kafka.dlq_topic, number, 0)]
    assert {(m.key(), m.value()) for m in letters} == {(f"memory/{road.kafka.enriched_topic}/0/1".encode(), b"x")}


def test_idle_costs_next_to_nothing(road: Road) -> None:
    """Under 2 % of a core with nothing to do."""
    store = Store()
    road.put(4)
    with working(road.kafka, MemorySink(store)):
        wait_until(lambda: store.fences == dict.fromkeys(range(4), 2), 20, "quiet")
        before_s, began_s = time.process_time(), time.monotonic()
        time.sleep(3)
        used = (time.process_time() - before_s) / (time.monotonic() - began_s)
    assert used < 0.02, f"{used:.1%} of a core"


def test_a_broker_that_restarts_is_waited_for(kafka_server: KafkaServer, road: Road) -> None:
    """Nothing lost, nothing twice, no end of the process."""
    store = Store()
    with working(road.kafka, MemorySink(store)):
        road.put(400)
        arrives(store, road)
        kafka_server.kill()
        kafka_server.start()
        later = Road(road.kafka)
        later.count = road.count
        later.put(400)
        arrives(store, later, 60)

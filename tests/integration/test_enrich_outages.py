"""The brokers go away in mid-flight, in order, at once, or only in silence; enrich waits and goes on."""

import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engagement_stream.settings import KafkaSettings
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.ports import free_port
from tests.fixtures.enrich_thread import EnrichThread, enriching
from tests.fixtures.raw_road import RawRoad
from tests.fixtures.stack import running, unique
from tests.fixtures.waiting import wait_until


@pytest.fixture
def broker(stack_dir: Path) -> Iterator[KafkaServer]:
    """One to break."""
    with running(KafkaServer(stack_dir / unique("kafka"), free_port(), heap_mb=256)) as server:
        yield server


@pytest.fixture
def kafka(broker: KafkaServer) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=broker.bootstrap_servers)


def kill(broker: KafkaServer, stage: EnrichThread) -> None:
    broker.kill()
    wait_until(lambda: stage.status.report().state == "waiting", 60, "the stage says that it waits")
    broker.start()


def restart(broker: KafkaServer, _stage: EnrichThread) -> None:
    broker.stop()
    broker.start()


def freeze(broker: KafkaServer, stage: EnrichThread) -> None:
    broker.process.signal(signal.SIGSTOP)
    wait_until(lambda: stage.status.report().state == "waiting", 60, "the stage says that it waits")
    broker.process.signal(signal.SIGCONT)


@pytest.mark.parametrize("outage", [kill, restart, freeze])
def test_brokers_that_go_away_in_mid_flight_cost_time_and_no_event(
    broker: KafkaServer, kafka: KafkaSettings, outage: Callable[[KafkaServer, EnrichThread], None]
) -> None:
    """A backlog is being worked on when they go; when they are back it is finished, each event once."""
    road = RawRoad(kafka)
    ids, chance = road.contents(20), random.Random(outage.__name__)
    road.events(30_000, ids, chance=chance, per_transaction=3_000)
    with enriching(kafka) as stage:
        gone = threading.Event()

        def when_half_way() -> None:
            wait_until(lambda: stage.status.report().records > 0, 60, "work has begun")
            outage(broker, stage)
            gone.set()

        breaker = threading.Thread(target=when_half_way)
        breaker.start()
        breaker.join(120)
        assert gone.is_set()
        wait_until(lambda: stage.status.report().records >= 30_000, 90, "the backlog is finished")
        road.renew()
        road.events(500, ids, chance=chance)
        road.await_all(90)
        wait_until(lambda: stage.status.report().state == "running", 30, "all is well again")
    road.assert_all_arrived_once()

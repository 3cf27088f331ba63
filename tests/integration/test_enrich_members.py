"""Several workers, frozen ones, and workers that come and go: each event is enriched once."""

import random
import signal
import subprocess

from engagement_stream.settings import KafkaSettings
from tests.fixtures.raw_road import RawRoad, enrich_process
from tests.fixtures.waiting import wait_until


def test_a_second_worker_that_comes_and_goes_in_mid_flight_doubles_nothing(kafka_settings: KafkaSettings) -> None:
    """One worker, then two, then the first is killed, then a new first one: every event once."""
    road = RawRoad(kafka_settings)
    ids, chance = road.contents(20), random.Random(1)
    road.events(1_000, ids, chance=chance)
    with enrich_process(kafka_settings, STAGE_WORKER="0") as first:
        wait_until(lambda: road.arrived() > 0, 60, "the first worker works")
        with enrich_process(kafka_settings, STAGE_WORKER="1") as second:
            road.events(2_000, ids, chance=chance, per_transaction=50)
            road.await_all()
            first.kill()
            first.wait()
            with enrich_process(kafka_settings, STAGE_WORKER="0"):
                road.events(2_000, ids, chance=chance, per_transaction=50)
                road.await_all()
                second.send_signal(signal.SIGTERM)
                assert second.wait(20) == 0
                road.events(500, ids, chance=chance)
                road.await_all()
    road.assert_all_arrived_once()


def test_a_frozen_worker_that_wakes_up_beside_its_successor_writes_nothing(kafka_settings: KafkaSettings) -> None:
    """SIGSTOP in mid-flight, a successor with the same number takes over at once, SIGCONT: each event once."""
    road = RawRoad(kafka_settings)
    ids, chance = road.contents(20), random.Random(2)
    road.events(500, ids, chance=chance)
    with enrich_process(kafka_settings) as zombie:
        wait_until(lambda: road.arrived() > 0, 60, "the worker works")
        road.events(1_000, ids, chance=chance, per_transaction=20)
        zombie.send_signal(signal.SIGSTOP)
        road.events(1_000, ids, chance=chance)
        with enrich_process(kafka_settings) as successor:
            road.await_all()
            zombie.send_signal(signal.SIGCONT)
            road.events(1_000, ids, chance=chance, per_transaction=20)
            # The zombie ends as fenced. Should it have taken the successor's place before it noticed, that one does.
            wait_until(lambda: None not in ended(zombie) or None not in ended(successor), 30, "one of the two ends")
            assert 75 in ended(zombie, successor)
            if successor.poll() is not None and zombie.poll() is not None:
                with enrich_process(kafka_settings):
                    road.await_all()
            road.await_all()
    road.assert_all_arrived_once()


def test_a_worker_frozen_for_longer_than_its_session_writes_nothing_twice(kafka_settings: KafkaSettings) -> None:
    """Another worker takes over its partitions; awake again it comes back with what is committed."""
    road = RawRoad(kafka_settings)
    ids, chance = road.contents(20), random.Random(3)
    road.events(500, ids, chance=chance)
    with enrich_process(kafka_settings, STAGE_WORKER="0") as zombie:
        wait_until(lambda: road.arrived() > 0, 60, "the worker works")
        road.events(1_000, ids, chance=chance, per_transaction=10)
        zombie.send_signal(signal.SIGSTOP)
        with enrich_process(kafka_settings, STAGE_WORKER="1"):
            road.events(1_000, ids, chance=chance)
            road.await_all(90)
            zombie.send_signal(signal.SIGCONT)
            road.events(1_000, ids, chance=chance, per_transaction=20)
            road.await_all()
    road.assert_all_arrived_once()


def ended(*workers: subprocess.Popen[bytes]) -> list[int | None]:
    return [worker.poll() for worker in workers]

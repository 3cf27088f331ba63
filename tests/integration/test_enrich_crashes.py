"""Enrich is killed at every step of its protocol; what arrives is what was written, each row once."""

import random
import signal
import subprocess
from collections.abc import Callable

from engagement_stream.settings import KafkaSettings
from tests.fixtures.raw_road import RawRoad, engagement, enrich_process, records
from tests.fixtures.waiting import wait_until

BUSY = [
    "enrich.before_catalog",
    "enrich.after_catalog",
    "transaction.before_init",
    "transaction.after_init",
    "enrich.before_positions",
    "enrich.after_positions",
    "enrich.before_catalog_wait",
    "enrich.after_catalog_wait",
    "enrich.before_begin:2",
    "enrich.after_produce:2",
    "transaction.before_flush:2",
    "transaction.before_offsets:2",
    "transaction.after_offsets:2",
    "transaction.before_commit:2",
    "transaction.after_commit",
    "enrich.after_commit:2",
]
IDLE = ["enrich.before_settle", "enrich.after_settle"]
AT_LEAST_ONCE = ["plain.after_flush", "plain.after_flush:2", "plain.after_offsets:2"]
KILLED_AT = [*BUSY, *IDLE, *AT_LEAST_ONCE]


def test_a_worker_killed_at_every_step_loses_and_doubles_nothing(kafka_settings: KafkaSettings) -> None:
    """SIGKILL at one step after the other, then an unarmed worker finishes: every event is there once, joined right."""
    road = RawRoad(kafka_settings)
    ids, chance = road.contents(20), random.Random(1)
    road.events(2_000, ids, chance=chance)
    for step in BUSY:
        killed(road, step, lambda: road.events(100, ids, chance=chance, per_transaction=50))
    for step in IDLE:
        road.events(100, ids, chance=chance)
        killed(road, step, lambda: None)
    road.events(100, ids, chance=chance)
    with enrich_process(kafka_settings) as worker:
        road.await_all()
        stop(worker)
    road.assert_all_arrived_once()


def test_without_transactions_a_kill_may_double_and_never_loses(kafka_settings: KafkaSettings) -> None:
    """ENABLE_EXACTLY_ONCE=false: the offsets follow the records, so the records in between come again."""
    kafka = kafka_settings.model_copy(update={"exactly_once": False})
    road = RawRoad(kafka)
    ids, chance = road.contents(5), random.Random(2)
    for step in AT_LEAST_ONCE:
        killed(road, step, lambda: road.events(20, ids, chance=chance))
    road.events(20, ids, chance=chance)
    with enrich_process(kafka) as worker:
        wait_until(lambda: titles(kafka).keys() == road.expected.keys(), 60, "every event arrives")
        stop(worker)
    assert titles(kafka) == {number: {title} for number, title in road.expected.items()}


def killed(road: RawRoad, step: str, keep_busy: Callable[[], None]) -> None:
    """A worker that lives until it comes to the step."""
    with enrich_process(road.kafka, ENGAGEMENT_CRASH_AT=step) as doomed:

        def died() -> bool:
            keep_busy()
            return doomed.poll() is not None

        wait_until(died, 60, f"the worker dies at {step}")
        assert doomed.returncode == -signal.SIGKILL, step


def titles(kafka: KafkaSettings) -> dict[int, set[str | None]]:
    """Event id -> the titles it was enriched with."""
    found: dict[int, set[str | None]] = {}
    for partition in range(kafka.partitions):
        for message in records(kafka, kafka.enriched_topic, partition):
            row = engagement(message)
            found.setdefault(row.event_id, set()).add(row.title)
    return found


def stop(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0

"""Enrich is killed at every step of its protocol; what arrives is what was written, each row once."""

import random
import signal
import subprocess

import pytest

from engagement_stream.settings import KafkaSettings
from tests.fixtures.raw_road import RawRoad, enrich_process
from tests.fixtures.waiting import wait_until

STEPS = [
    "transaction.before_init",
    "transaction.after_init",
    "enrich.before_begin:2",
    "enrich.after_produce:2",
    "transaction.before_offsets:2",
    "transaction.after_offsets:2",
    "transaction.before_commit:2",
    "transaction.after_commit",
    "enrich.after_commit:2",
]


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_at_any_step_loses_and_doubles_nothing(kafka_settings: KafkaSettings, step: str) -> None:
    """SIGKILL at the step, then an unarmed worker finishes: every event is there once, joined right."""
    road = RawRoad(kafka_settings)
    ids = road.contents(20)
    chance = random.Random(step)
    road.events(2_000, ids, chance=chance)
    with enrich_process(kafka_settings, ENGAGEMENT_CRASH_AT=step) as doomed:

        def died() -> bool:
            road.events(200, ids, chance=chance, per_transaction=50)
            return doomed.poll() is not None

        wait_until(died, 60, f"the worker dies at {step}")
        assert doomed.returncode == -signal.SIGKILL
    with enrich_process(kafka_settings) as worker:
        road.await_all()
        stop(worker)
    road.assert_all_arrived_once()


def stop(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0

"""Mutants of enrich: Kafka, and the ledger over the enriched topic and the dead letters."""

import random
import signal
import subprocess
from pathlib import Path

import psutil

from engagement_stream.settings import KafkaSettings
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.ports import free_port
from tests.fixtures.capture import status_at
from tests.fixtures.http import dead_letters
from tests.fixtures.raw_road import RawRoad, enrich_process, put_raw
from tests.fixtures.stack import topics_on
from tests.fixtures.waiting import wait_until
from tests.mutants.running import Environment, assert_every_mutant_is_caught
from tests.mutants.stages import ENRICH, TWIN


def test_every_mutant_of_enrich_is_caught(kafka_server: KafkaServer, tmp_path: Path) -> None:
    """And the unchanged product is right in the same scenario."""
    assert_every_mutant_is_caught(ENRICH, lambda _, e: _killed(topics_on(kafka_server), e), tmp_path)


def test_a_zombie_s_mutant_is_caught(kafka_server: KafkaServer, tmp_path: Path) -> None:
    """The one defect that only a frozen worker shows."""
    assert_every_mutant_is_caught(TWIN, lambda _, e: _frozen(topics_on(kafka_server), e), tmp_path)


def _killed(kafka: KafkaSettings, environment: Environment) -> list[str]:
    road = RawRoad(kafka)
    ids, chance = road.contents(20), random.Random(1)
    road.events(400, ids, chance=chance, per_transaction=100)
    put_raw(kafka, kafka.events_topic, (0, b"not json", b"x"))
    with enrich_process(kafka, **environment):
        wait_until(lambda: road.arrived() >= 400, 60, "the first events arrive")
    with enrich_process(kafka, ENGAGEMENT_CRASH_AT="transaction.after_commit", **environment) as doomed:

        def died() -> bool:
            road.events(10, ids, chance=chance)
            return doomed.poll() is not None

        wait_until(died, 60, "it dies")
    port, before = free_port(), road.arrived()
    with enrich_process(kafka, STAGE_STATUS_PORT=str(port), **environment):
        wait_until(lambda: road.arrived() > before or _halted(port), 60, "it works")
        road.events(400, ids, chance=chance, per_transaction=20)
        wait_until(lambda: _halted(port) or not _missing(road), 60, "every event arrives")
    letters = [name for name, _, _ in dead_letters(kafka)]
    found = road.differences()
    return found if len(letters) == 1 else [*found, f"dead letters are {letters}"]


def _frozen(kafka: KafkaSettings, environment: Environment) -> list[str]:
    road = RawRoad(kafka)
    ids, chance = road.contents(5), random.Random(1)
    armed = environment | {"STAGE_WORKER": "0", "ENGAGEMENT_CRASH_AT": "enrich.before_begin:2"}
    with enrich_process(kafka, **armed) as zombie:

        def frozen() -> bool:
            road.events(5, ids, chance=chance)
            return _is_frozen(zombie)

        wait_until(frozen, 60, "it freezes")
        with enrich_process(kafka, **environment, STAGE_WORKER="1"):
            road.await_all(60)
            zombie.send_signal(signal.SIGTERM)
            zombie.send_signal(signal.SIGCONT)  # it finishes what it had in hand, then ends
            zombie.wait(60)
            road.events(20, ids, chance=chance)
            wait_until(lambda: not _missing(road), 60, "every event arrives")
    return road.differences()


def _halted(port: int) -> bool:
    report = status_at(port)
    return report is not None and report.state == "halted"


def _missing(road: RawRoad) -> bool:
    return any("missing" in finding for finding in road.differences())


def _is_frozen(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None or psutil.Process(process.pid).status() == psutil.STATUS_STOPPED

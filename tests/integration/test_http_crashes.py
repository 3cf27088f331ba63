"""The HTTP sink is killed at every step of its protocol; what comes after it must finish what it began."""

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from engagement_stream.settings import HttpSettings, KafkaSettings
from engagement_stream.stack.receiver import HoldAnswer, ReceiverServer, Reject
from tests.fixtures.http import EnrichedTopic, HttpProcess, dead_letters, engagement, overlapping
from tests.fixtures.waiting import wait_until

POISON = "11"
OPENING = ["road.before_bounds", "road.after_bounds", "road.before_committed", "road.after_committed"]
SENDING = [
    "http.before_commit",
    "road.before_commit",
    "road.after_commit",
    "http.after_commit",
    "http.before_read",
    "http.after_read",
    "http.before_send",
    "http.after_answer",
    "http.before_commit:2",
    "http.after_commit:2",
    "http.before_send:3",
    "http.after_answer:3",
]
REFUSED = ["http.before_dead_letter", "road.before_dead_letter", "road.after_dead_letter", "http.after_dead_letter"]
"""Each meets the refused event again, until one moves the position past it."""
KILLED_AT = [*OPENING, *SENDING, *REFUSED]


@dataclass
class World:
    """A topic of two partitions, a receiver, and how many events there are."""

    kafka: KafkaSettings
    receiver: ReceiverServer
    log: Path
    topic: EnrichedTopic
    events: int = 0

    def http(self, batch_size: int) -> HttpSettings:
        """Settings of one process's life."""
        return HttpSettings(
            url=SecretStr(self.receiver.url), secret=SecretStr(self.receiver.secret), batch_size=batch_size, timeout_s=5
        )

    def put(self, count: int) -> None:
        self.topic.put(engagement(n, content=n % 9) for n in range(self.events, self.events + count))
        self.events += count


@pytest.fixture
def world(kafka_settings: KafkaSettings, receiver: ReceiverServer, tmp_path: Path) -> World:
    kafka = kafka_settings.model_copy(update={"partitions": 2})
    return World(kafka, receiver, tmp_path / "log", EnrichedTopic(kafka))


def test_killed_at_every_step_the_next_process_repeats_only_what_was_frozen(world: World) -> None:
    """Every event arrives; a repeat has the same key and the same bytes, though BATCH_SIZE changes with each life."""
    world.receiver.fail(Reject(status=400, times=0, event_id=POISON, text="no such thing"))
    # The refused event comes with the first records: it waits there until the last lives reach it.
    for number, crash_at in enumerate([*OPENING, *REFUSED, *SENDING]):
        world.put(80)
        with HttpProcess(world.http(10 - number % 4), world.kafka, world.log, crash_at, STAGE_WORKER="0") as process:
            wait_until(process.ended, 60, f"{crash_at} is reached")
            assert process.died_at_its_crash_point(), (crash_at, world.log.read_text())
    with HttpProcess(world.http(7), world.kafka, world.log, STAGE_WORKER="0"):
        wait_until(lambda: world.receiver.stats().events == world.events - 1, 60, "all events arrive")
    stats = world.receiver.stats(thorough=True)
    assert (stats.events, stats.differing_events, stats.disorder) == (world.events - 1, 0, 0)
    assert overlapping(world.receiver.requests()) == []
    letters = dead_letters(world.kafka)
    assert len({name for name, _, _ in letters}) == 1
    assert b'"event_id":11,' in letters[0][2]
    assert letters[0][1]["reason"] == "refused"


def test_a_frozen_process_that_wakes_up_sends_nothing_its_successor_did_not(world: World) -> None:
    """SIGSTOP beyond the session, a successor takes over, SIGCONT."""
    world.receiver.fail(HoldAnswer(seconds=2))
    world.put(240)
    with HttpProcess(world.http(10), world.kafka, world.log) as first:
        wait_until(lambda: world.receiver.stats().events > 0, 60, "the first process waits for an answer")
        first.signal(signal.SIGSTOP)
        with HttpProcess(world.http(7), world.kafka, world.log):
            wait_until(lambda: world.receiver.stats().events == world.events, 60, "the successor finishes")
            first.signal(signal.SIGCONT)
            first.signal(signal.SIGTERM)
            wait_until(first.ended, 30, "the twin ends")
    stats = world.receiver.stats(thorough=True)
    assert (stats.events, stats.differing_events, stats.disorder) == (world.events, 0, 0)
    assert overlapping(world.receiver.requests()) == []

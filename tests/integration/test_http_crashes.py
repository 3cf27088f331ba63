"""The HTTP sink is killed at every step of its protocol; what comes after it must finish what it began.

A member that was killed stays in its consumer group until its session is over (20 s), so all cases wait together.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from engagement_stream.settings import HttpSettings, KafkaSettings
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.ports import free_port
from engagement_stream.stack.receiver import HoldAnswer, ReceiverServer, Reject
from tests.fixtures.http import EnrichedTopic, HttpProcess, dead_letters, engagement, overlapping
from tests.fixtures.stack import running, unique
from tests.fixtures.waiting import wait_until

EVENTS = 240
POISON = "101"
PLAIN = ("http.before_commit:2", "http.after_commit", "http.before_send:3", "http.after_answer", "http.after_answer:6")
WITH_POISON = ("http.before_dead_letter", "http.after_dead_letter", "http.before_commit:6")


@dataclass
class World:
    """A topic and a receiver of one case's own."""

    kafka: KafkaSettings
    receiver: ReceiverServer
    log: Path

    def http(self, batch_size: int) -> HttpSettings:
        """Settings of one process's life."""
        return HttpSettings(
            url=SecretStr(self.receiver.url), secret=SecretStr(self.receiver.secret), batch_size=batch_size, timeout_s=5
        )


@pytest.fixture
def worlds(kafka_server: KafkaServer, stack_dir: Path, tmp_path: Path) -> Iterator[list[World]]:
    """One for each case, two partitions each."""
    with ExitStack() as stack:
        made = []
        for number in range(len(PLAIN) + len(WITH_POISON) + 1):
            prefix = unique("c")
            kafka = KafkaSettings(
                bootstrap_servers=kafka_server.bootstrap_servers,
                events_topic=f"{prefix}-events",
                prefix=prefix,
                partitions=2,
            )
            server = stack.enter_context(running(ReceiverServer(stack_dir / unique("receiver"), free_port())))
            folder = tmp_path / str(number)
            folder.mkdir()
            made.append(World(kafka, server, folder / "log"))
            EnrichedTopic(kafka).put(engagement(n, content=n % 9) for n in range(EVENTS))
        yield made


def _killed_then_finished(world: World, crash_at: str, *, expected: int) -> None:
    with HttpProcess(world.http(10), world.kafka, world.log, crash_at) as first:
        wait_until(first.ended, 60, f"{crash_at} is reached")
        assert first.died_at_its_crash_point(), world.log.read_text()
    with HttpProcess(world.http(7), world.kafka, world.log):
        wait_until(lambda: world.receiver.stats().events == expected, 60, f"{crash_at}: all events arrive")


def test_killed_at_any_step_the_next_process_repeats_only_what_was_frozen(worlds: list[World]) -> None:
    """Every event arrives; a repeat has the same key and the same bytes, though BATCH_SIZE has changed meanwhile."""
    plain, poisoned, hung = worlds[: len(PLAIN)], worlds[len(PLAIN) : -1], worlds[-1]
    for world in poisoned:
        world.receiver.fail(Reject(status=400, times=0, event_id=POISON, text="no such thing"))
    hung.receiver.fail(HoldAnswer(seconds=2))
    with ThreadPoolExecutor(len(worlds)) as together:
        cases = [
            together.submit(_killed_then_finished, *pair, expected=EVENTS) for pair in zip(plain, PLAIN, strict=True)
        ]
        cases += [
            together.submit(_killed_then_finished, *pair, expected=EVENTS - 1)
            for pair in zip(poisoned, WITH_POISON, strict=True)
        ]
        cases.append(together.submit(_frozen_then_woken, hung))
        for case in cases:
            case.result()
    for world, at in zip([*plain, hung], [*PLAIN, "frozen twin"], strict=True):
        stats = world.receiver.stats(thorough=True)
        assert (stats.events, stats.differing_events, stats.disorder) == (EVENTS, 0, 0), at
        assert overlapping(world.receiver.requests()) == [], at
    for world, at in zip(poisoned, WITH_POISON, strict=True):
        stats = world.receiver.stats(thorough=True)
        assert (stats.events, stats.differing_events, stats.disorder) == (EVENTS - 1, 0, 0), at
        letters = dead_letters(world.kafka)
        assert len({name for name, _, _ in letters}) == 1, at
        assert b'"event_id":101,' in letters[0][2], at
        assert letters[0][1]["reason"] == "refused", at


def _frozen_then_woken(world: World) -> None:
    """SIGSTOP beyond the session, a successor takes over, SIGCONT: the twin sends nothing its successor did not."""
    with HttpProcess(world.http(10), world.kafka, world.log, "") as first:
        wait_until(lambda: world.receiver.stats().events > 0, 60, "the first process waits for an answer")
        first.signal(signal.SIGSTOP)
        with HttpProcess(world.http(7), world.kafka, world.log):
            wait_until(lambda: world.receiver.stats().events == EVENTS, 60, "the successor finishes")
            first.signal(signal.SIGCONT)
            first.signal(signal.SIGTERM)
            wait_until(first.ended, 30, "the twin ends")

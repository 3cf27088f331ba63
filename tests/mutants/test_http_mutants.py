"""Mutants of the HTTP sink and of the runner under it: Kafka, and the receiver's own books."""

from pathlib import Path

from pydantic import SecretStr

from engagement_stream.settings import HttpSettings
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.ports import free_port
from engagement_stream.stack.receiver import ReceiverServer, Reject
from tests.fixtures.http import EnrichedTopic, HttpProcess, engagement, overlapping
from tests.fixtures.stack import running, topics_on, unique
from tests.fixtures.waiting import wait_until
from tests.mutants.running import Environment, assert_every_mutant_is_caught
from tests.mutants.sinks import HTTP

_LIVES = ((10, "http.before_send:3"), (7, "http.after_answer:3"), (9, ""))
"""BATCH_SIZE, and where it dies."""
_EVENTS = 60 * len(_LIVES)


def test_every_mutant_of_http_is_caught(kafka_server: KafkaServer, stack_dir: Path, tmp_path: Path) -> None:
    """And the unchanged product is right in the same scenario."""

    def run(place: Path, environment: Environment) -> list[str]:
        with running(ReceiverServer(stack_dir / unique("receiver"), free_port())) as receiver:
            return _killed(kafka_server, receiver, place, environment)

    assert_every_mutant_is_caught(HTTP, run, tmp_path)


def _killed(kafka_server: KafkaServer, receiver: ReceiverServer, place: Path, environment: Environment) -> list[str]:
    kafka = topics_on(kafka_server).model_copy(update={"partitions": 2})
    topic, log = EnrichedTopic(kafka), place / "log"
    for number, (batch_size, crash_at) in enumerate(_LIVES):
        topic.put(engagement(number * 60 + n, content=n % 2) for n in range(60))
        http = HttpSettings(
            url=SecretStr(receiver.url), secret=SecretStr(receiver.secret), batch_size=batch_size, timeout_s=5
        )
        if not crash_at:
            receiver.fail(Reject(status=503, times=2, event_id=str(_EVENTS - 30)))  # of a batch that was never sent
        with HttpProcess(http, kafka, log, crash_at, **environment) as process:
            if crash_at:
                assert process.died_at_its_crash_point(60), log.read_text()
            else:  # in each partition the last one comes last
                wait_until(lambda: {_EVENTS - 1, _EVENTS - 2} <= _ids(receiver), 60, "the last ones arrive")
    missing = sorted(set(range(_EVENTS)) - _ids(receiver))
    found = [f"{len(missing)} missing: {missing[:5]}"] if missing else []
    if twice := overlapping(receiver.requests()):
        found.append(f"{len(twice)} sent under two keys: {twice[:2]}")
    stats = receiver.stats(thorough=True)
    if stats.differing_events or stats.disorder:
        found.append(f"{stats.differing_events} differ, {stats.disorder} out of order")
    return found


def _ids(receiver: ReceiverServer) -> set[int]:
    return {int(event.id) for event in receiver.events()}

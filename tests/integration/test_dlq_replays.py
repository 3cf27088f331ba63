"""Poison at every stage, the cause mended, the letters sent back: each event once everywhere, the ledger balanced."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engagement_stream.dlq.letter import Filter
from engagement_stream.settings import BigQuerySettings, KafkaSettings, PostgresSettings, RedisSettings
from engagement_stream.stack.ports import free_port
from engagement_stream.stack.receiver import ReceiverServer
from engagement_stream.stack.receiver.faults import Reject
from engagement_stream.verify.report import Report
from tests.fixtures.bigquery import query
from tests.fixtures.dead_letters import Operator, damage_content, mend_content, operating, sent_back
from tests.fixtures.ledger_world import STAGES, LedgerWorld
from tests.fixtures.stack import running
from tests.fixtures.waiting import wait_until

_CONTENT = "00000000-0000-4000-8000-{:012d}"
_CONTENTS = """
insert into content select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, 'slug-' || g, 'title ' || g,
    'video', 60, '2025-07-01T00:00:00Z' from generate_series(1, 3) g
"""
_EVENT = """
insert into engagement_events (content_id, event_type, event_ts, duration_ms, raw_payload)
values (%s, 'play', %s, 1500, '{"a": 1.50}') returning id
"""
_KILLED_AT = {
    "enrich": ("enrich.after_produce", "transaction.before_commit"),
    "http": ("http.after_answer", "http.before_commit"),
    "bigquery": (
        "bigquery.after_replay_load",
        "insert.after_issue",
        "bigquery.after_replay_insert",
        "bigquery.before_replay_commit",
        "bigquery.after_replay_commit",
    ),
}
KILLED_AT = [step for steps in _KILLED_AT.values() for step in steps]
"""Where each stage dies while it works on its replay, one after the other."""


@pytest.fixture
def world(
    stack_dir: Path,
    postgres_settings: PostgresSettings,
    kafka_settings: KafkaSettings,
    redis_settings: RedisSettings,
    bigquery_settings: BigQuerySettings,
) -> Iterator[LedgerWorld]:
    """Every stage as a process."""
    data_dir = Path(tempfile.mkdtemp(dir=stack_dir))
    with running(ReceiverServer(data_dir / "receiver", free_port())) as receiver:
        world = LedgerWorld(postgres_settings, kafka_settings, redis_settings, bigquery_settings, receiver)
        try:
            yield world
        finally:
            world.stop_all()


def test_poison_at_every_stage_is_delivered_once_after_its_replay(world: LedgerWorld) -> None:
    """Refused by the receiver, too old for BigQuery's streams, an unreadable content: mended, killed, delivered."""
    world.sql(_CONTENTS)
    world.start(*STAGES)
    ids = [_event(world, content=1) for _ in range(5)]
    world.await_raw(ids[-1])
    refused = ids[-1] + 1
    world.receiver.fail(Reject(status=422, times=0, event_id=str(refused), text="no"))
    assert _event(world, content=2) == refused
    old = _event(world, content=1, event_ts="1990-01-01T00:00:00Z")
    damage_content(world, _CONTENT.format(3))
    unreadable = _event(world, content=3)
    with operating(world.settings.kafka) as operator:
        for stage in _KILLED_AT:
            operator.await_letter(stage)
        assert _dead_lettered(world.await_delivery()) == {"enriched": 1, "bigquery": 1, "receiver": 1}

        _replay_without_mending(operator)
        assert _dead_lettered(world.await_delivery()) == {"enriched": 1, "bigquery": 1, "receiver": 1}

        world.receiver.behave()
        mend_content(world, _CONTENT.format(3))
        world.stop(*_KILLED_AT)
        assert operator.handling.replay(Filter(), "me").done == 3
    report = world.look()
    assert report.exit_code == 0, report.findings
    assert _dead_lettered(report) == {}, "what is sent back is in flight"
    for step in range(max(map(len, _KILLED_AT.values()))):
        dying = {stage: steps[step] for stage, steps in _KILLED_AT.items() if step < len(steps)}
        for stage, crash_at in dying.items():
            world.start(stage, crash_at=crash_at)
        for stage in dying:
            world.await_death(stage)
    world.start(*_KILLED_AT)
    report = world.await_delivery()

    assert (report.exit_code, _dead_lettered(report)) == (0, {}), report.findings
    events = [place for place in report.places if place.name != "dead letters"]
    rows = {place.name: place.rows + place.left_out for place in events}  # history is not sent to the receiver
    assert rows == dict.fromkeys(("postgresql", "raw topic", "enriched", "bigquery", "receiver", "redis"), 8)
    assert world.receiver.stats(thorough=True).differing_events == 0
    where = "SELECT event_id, _dlq, _source, COUNT(*) FROM `{table}` " + f"WHERE event_id = {old} GROUP BY 1, 2, 3"
    assert sorted(query(world.settings.bigquery, where)) == [(old, False, "live", 1), (old, True, "live", 1)]
    assert not sent_back(world.settings.kafka, "redis"), "nobody else got a replay"
    assert unreadable == ids[-1] + 3


def _event(world: LedgerWorld, *, content: int, event_ts: str = "now") -> int:
    ((event_id,),) = world.sql(_EVENT, _CONTENT.format(content), event_ts)
    return int(str(event_id))


def _replay_without_mending(operator: Operator) -> None:
    """It fails again, as a new letter, and nothing sends that one back by itself."""
    (first,) = operator.await_letter("http")
    assert operator.handling.replay([first.name], "me").done == 1

    def failed_again() -> bool:
        return [found.name for found in operator.letters(Filter(stage="http"))] not in ([], [first.name])

    wait_until(failed_again, 60.0, "the replay fails again")
    (second,) = operator.letters(Filter(stage="http"))
    assert second.topic == operator.kafka.retry_topic("http")
    assert (second.again, second.origin) == (1, first.origin)


def _dead_lettered(report: Report) -> dict[str, int]:
    assert report.exit_code == 0, report.findings
    return {place.name: place.dead_lettered for place in report.places if place.dead_lettered}

"""Dead letters and a rebuild of Redis: sent back before it or after it, an event is counted once."""

from collections.abc import Iterator

import msgspec
import pytest

from engagement_stream.broker.retry import Replay
from engagement_stream.capture.letters import read_letters
from engagement_stream.dlq.letter import Filter
from engagement_stream.model.engagement import encode_enriched
from engagement_stream.rebuild.letters import Settled, letters_to_leave_out, replays_counted
from engagement_stream.settings import KafkaSettings, PostgresSettings, RedisSettings
from engagement_stream.verify.report import Place
from engagement_stream.verify.run import verify
from tests.fixtures.dead_letters import (
    damage_content,
    letter,
    mend_content,
    operating,
    pass_by,
    put_letters,
    sent_back,
)
from tests.fixtures.http import EnrichedTopic, engagement
from tests.fixtures.rebuild_world import ROOT, STAGES, RebuildWorld
from tests.fixtures.waiting import wait_until

_CONTENT = "00000000-0000-4000-8000-000000000003"
_EVENT = "insert into engagement_events (content_id, event_type, event_ts) values (%s, 'play', now()) returning id"


@pytest.fixture
def world(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings, redis_settings: RedisSettings
) -> Iterator[RebuildWorld]:
    """Capture, enrich and the Redis sink."""
    world = RebuildWorld(postgres_settings, kafka_settings, redis_settings)
    try:
        yield world
    finally:
        world.close()


def test_a_letter_is_counted_once_on_either_side_of_a_rebuild(world: RebuildWorld) -> None:
    """Two events that enrich refused: one is sent back before, one after; its place in history lies before both."""
    world.start(*STAGES)
    world.add_events(50, future=False)
    kafka = world.settings.kafka
    wait_until(lambda: world.redis.hlen(f"{world.settings.redis.prefix}:{{0}}:position") > 2, 60.0, "Redis counts")
    damage_content(world, _CONTENT)
    ids = [int(str(world.sql(_EVENT, _CONTENT)[0][0])) for _ in range(2)]
    with operating(kafka) as operator:
        letters = operator.await_letter("enrich", 3)  # and an event that nothing can store
        before, after = (next(one.name for one in letters if one.name == _named(kafka, i)) for i in ids)
        mend_content(world, _CONTENT)
        assert operator.handling.replay([before], "me").done == 1
        wait_until(lambda: _redis(world).rows == 50, 60.0, "the first is counted")
        report = world.rebuild()
        assert (report.events, report.left_out) == (50, 2)
        assert operator.handling.replay([after], "me").done == 1
    place = wait_until(lambda: found if (found := _redis(world)).rows == 51 else None, 60.0, "the second is counted")
    assert place is not None
    assert place.wrong == 0, verify(world.settings, ROOT).findings
    assert place.notes[0].startswith("50 events")


def _named(kafka: KafkaSettings, event_id: int) -> str:
    by_name = read_letters(kafka, 0).named
    return next(name for name, found in by_name.items() if found == event_id)


def _redis(world: RebuildWorld) -> Place:
    return next(place for place in verify(world.settings, ROOT).places if place.name == "redis")


def test_what_is_left_out_is_what_no_replay_has_settled(kafka_settings: KafkaSettings, enriched: EnrichedTopic) -> None:
    """Open, given up, on its way to Redis or to enrich, brought behind the mark; not what was counted before."""
    kafka = kafka_settings
    opened, discarded, counted, under_way, to_enrich, behind, through = range(1, 8)
    of_redis = [
        letter("redis", kafka.enriched_topic, 0, n, _enriched(n)) for n in (opened, discarded, counted, under_way)
    ]
    of_enrich = [letter("enrich", kafka.events_topic, 0, n, _raw(n)) for n in (through, behind, to_enrich)]
    put_letters(kafka, of_redis + of_enrich)
    pass_by(kafka, "redis", kafka.enriched_topic, 100)
    enriched.put([engagement(through)], partition=0)
    with operating(kafka) as operator:
        names = {int(found.name.rpartition("/")[2]): found.name for found in operator.letters()}
        assert operator.handling.discard([names[discarded]], "me").done == 1
        for number in (counted, under_way, through, behind, to_enrich):
            assert operator.handling.replay([names[number]], "me").done == 1
        assert [found.name for found in operator.letters(Filter())] == [names[opened]]
    fence = (sent_back(kafka, "redis")[1].offset() or 0, 0, 0, 0)
    place = sent_back(kafka, "enrich")[2].offset() or 0
    pass_by(kafka, "enrich", kafka.retry_topic("enrich"), place)
    marks = [2, 0, 0, 0]  # behind the output of `through` and its transaction's end
    enriched.put([engagement(behind), engagement(100)], partition=0)
    settled = Settled(marks, replays_counted(kafka, fence))
    assert letters_to_leave_out(kafka, 0, settled).event_ids == {opened, discarded, under_way, to_enrich, behind}


def _enriched(number: int) -> bytes:
    return encode_enriched(engagement(number))


def _raw(number: int) -> bytes:
    return msgspec.json.encode({"after": {"id": number}})


def test_a_replay_says_what_it_was() -> None:
    """Its headers are all that ties it to its event's first failure."""
    replay = Replay("redis/t/0/1", "t/0/1", 2)
    assert dict(replay.headers()) == {"letter": b"redis/t/0/1", "origin": b"t/0/1", "again": b"2"}

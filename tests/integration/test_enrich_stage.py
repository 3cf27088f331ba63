"""What the enrich stage does with what it finds on the road."""

import random

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import REGISTRY

from engagement_stream.broker.topics import ensure_topics
from engagement_stream.broker.transaction import TransactionalOutbox
from engagement_stream.dlq.letter import Filter
from engagement_stream.errors import Fatal
from engagement_stream.model.change import WATERMARK_PREFIX, EventChange, LogicalMessage, Source
from engagement_stream.model.engagement import is_watermark
from engagement_stream.settings import KafkaSettings
from tests.fixtures.dead_letters import letter, operating, put_letters
from tests.fixtures.enrich_thread import enriching
from tests.fixtures.raw_road import RawRoad, content, engagement, event, put_changes, put_raw, records
from tests.fixtures.waiting import wait_until


@pytest.fixture
def kafka(kafka_settings: KafkaSettings) -> KafkaSettings:
    """A road with its topics."""
    ensure_topics(kafka_settings)
    return kafka_settings


def enriched(kafka: KafkaSettings, partition: int = 0) -> list[bytes]:
    return [message.value() or b"" for message in records(kafka, kafka.enriched_topic, partition)]


def committed(kafka: KafkaSettings, partition: int = 0) -> int:
    looker = Consumer({**kafka.client_config(), "group.id": kafka.group("enrich")})
    try:
        return looker.committed([TopicPartition(kafka.events_topic, partition)], 10)[0].offset
    finally:
        looker.close()


def test_poison_goes_to_the_dead_letters_with_its_bytes_and_what_stands_behind_it_goes_on(
    kafka: KafkaSettings,
) -> None:
    """Bytes that are no JSON, no row, a date no sink can hold; then good ones, enriched as if nothing had been."""
    bad = [b"\xff\x00", b"{}", b"null", b""]
    put_changes(kafka, content("a", (100, 0)), event(1, (200, 2), (100, 0), "a"))
    put_raw(kafka, kafka.events_topic, *((0, value, b"k") for value in bad), (0, None, b"tombstone"))
    put_changes(kafka, event(2, (200, 3), (100, 0), "a"), event(1 << 63, (200, 4), (100, 0), "a"))
    put_changes(kafka, event(3, (200, 5), (100, 0), "a"))
    with enriching(kafka) as stage:
        wait_until(lambda: stage.status.report().records == 3, 30, "the good ones arrive")
    assert [engagement(m).event_id for m in records(kafka, kafka.enriched_topic, 0)] == [1, 2, 3]
    letters = {m.key(): m for m in records(kafka, kafka.dlq_topic, 0)}
    assert list(letters) == [f"enrich/{kafka.events_topic}/0/{offset}".encode() for offset in (7, 1, 2, 3, 4)]
    assert [m.value() for m in letters.values()][1:] == bad
    reasons = [dict(m.headers() or [])["reason"] for m in letters.values()]
    assert reasons == [b"number out of range"] + [b"malformed"] * 4


def test_an_event_waits_for_the_content_it_refers_to(kafka: KafkaSettings) -> None:
    """The content change is committed after its event was polled: the event is not joined without it."""
    put_changes(kafka, content("a", (100, 0)))
    with enriching(kafka) as stage:
        put_changes(kafka, event(1, (100, 1), (100, 0), "a", op="r"))
        wait_until(lambda: stage.status.report().records == 1, 30, "the first event")
        put_changes(kafka, event(2, (300, 2), (200, 2), "a"))
        wait_until(lambda: stage.status.report().state == "waiting", 30, "it says that it waits")
        assert "0/C8" in stage.status.report().reason
        assert len(enriched(kafka)) == 1
        put_changes(kafka, content("a", (200, 2), op="u"))
        wait_until(lambda: stage.status.report().records == 2, 30, "the event, once its content is there")
        assert stage.status.report().state == "running"
        put_changes(kafka, event(3, (300, 3), (200, 2), "a"))
        wait_until(lambda: stage.status.report().records == 3, 30, "what comes after the wait")
    rows = [engagement(m) for m in records(kafka, kafka.enriched_topic, 0)]
    assert [(row.event_id, row.title, row.source) for row in rows] == [
        (1, "title at (100, 0)", "snapshot"),
        (2, "title at (200, 2)", "live"),
        (3, "title at (200, 2)", "live"),
    ]


def test_a_rebalance_in_the_middle_of_waiting_is_served(kafka: KafkaSettings) -> None:
    """Partitions that were paused while an event waits for its content flow again, with either worker."""

    def reopened() -> float:
        return REGISTRY.get_sample_value("engagement_reopened_total", {"stage": "enrich"}) or 0.0

    put_changes(kafka, content("a", (100, 0)), event(0, (300, 2), (200, 2), "a"))
    before = reopened()
    with enriching(kafka) as stuck:
        wait_until(lambda: stuck.status.report().state == "waiting", 30, "it waits for the content")
        with enriching(kafka, worker=1) as other:
            wait_until(lambda: other.status.report().details.get("partitions"), 60, "the other one has its part")
            for partition in range(kafka.partitions):
                put_changes(kafka, event(partition + 1, (200, 1), (100, 0), "a"), partition=partition)
            put_changes(kafka, content("a", (200, 2), op="u"))
            wait_until(lambda: sum(len(enriched(kafka, p)) for p in range(kafka.partitions)) == 5, 60, "all events")
    assert reopened() == before  # none of them stood still until somebody noticed


def test_what_was_sent_back_counts_under_a_name_of_its_own(kafka: KafkaSettings) -> None:
    """Alerts about latency take no notice of events that come after such a replay."""

    def counted(stage: str) -> float:
        return REGISTRY.get_sample_value("engagement_records_total", {"stage": stage}) or 0.0

    lane, own = counted("enrich-retry"), counted("enrich")
    put_changes(kafka, content("a", (100, 0)), event(1, (200, 2), (100, 0), "a"))
    put_letters(
        kafka, [letter("enrich", kafka.events_topic, 0, 99, msgspec.json.encode(event(2, (200, 3), (100, 0), "a")))]
    )
    with operating(kafka) as operator:
        assert operator.handling.replay(Filter(), "me").done == 1
    with enriching(kafka) as stage:
        wait_until(lambda: stage.status.report().records == 2, 30, "the event and what was sent back")
        assert (counted("enrich-retry") - lane, counted("enrich") - own) == (1, 1)


def test_an_event_sees_its_content_as_of_its_own_position(kafka: KafkaSettings) -> None:
    """Changed before, in the same transaction before, in the same transaction after, deleted."""
    put_changes(
        kafka,
        content("a", (100, 0)),
        content("a", (200, 3), op="u", length_seconds=0),
        content("a", (300, 2), op="d"),
        event(1, (200, 2), (100, 0), "a"),
        event(2, (200, 4), (200, 3), "a"),
        event(3, (400, 2), (300, 2), "a"),
        event(4, (400, 3), (300, 2), None),
        event(5, (99, 9), (0, 0), "a"),
    )
    with enriching(kafka) as stage:
        wait_until(lambda: stage.status.report().records == 4, 30, "all that can be enriched")
    rows = {row.event_id: row for row in map(engagement, records(kafka, kafka.enriched_topic, 0))}
    assert {n: (row.title, row.engagement_pct) for n, row in rows.items()} == {
        1: ("title at (100, 0)", 0.005 / 100 * 100),
        2: ("title at (200, 3)", None),
        3: (None, None),
        4: (None, None),
    }
    (letter,) = records(kafka, kafka.dlq_topic, 0)
    assert dict(letter.headers() or [])["reason"] == b"history gone"


def test_watermarks_stay_in_their_partition_and_later_changes_are_only_counted(kafka: KafkaSettings) -> None:
    """A mark in every partition comes out in every partition; u, d and t make no record."""
    source = Source("", 7, (500, 2), (0, 0))
    mark = EventChange("m", source, message=LogicalMessage(WATERMARK_PREFIX, "run-1"))
    other = EventChange("m", source, message=LogicalMessage("somebody.else", "x"))
    for partition in range(kafka.partitions):
        put_changes(kafka, event(partition, (400, 2), (0, 0), None, op="u"), mark, other, partition=partition)
    with enriching(kafka) as stage:
        wait_until(lambda: all(len(enriched(kafka, p)) == 1 for p in range(kafka.partitions)), 30, "the marks pass")
        assert stage.status.report().records == 0  # a mark is nobody's record
    for partition in range(kafka.partitions):
        (value,) = enriched(kafka, partition)
        assert is_watermark(value)


def test_the_same_input_gives_the_same_bytes(kafka_settings: KafkaSettings) -> None:
    """Two groups that read the same road, in other batches, write the same records."""
    road = RawRoad(kafka_settings)
    ids, chance = road.contents(20), random.Random(4)
    road.events(1_000, ids, chance=chance)
    with enriching(kafka_settings):
        road.events(1_000, ids, chance=chance, per_transaction=20)
        road.await_all()
    again = kafka_settings.model_copy(update={"prefix": f"{kafka_settings.prefix}-again"})
    ensure_topics(again)
    copied = records(kafka_settings, kafka_settings.content_topic, 0)
    put_raw(again, again.content_topic, *((0, m.value() or b"", b"") for m in copied))
    with enriching(again) as stage:
        wait_until(lambda: stage.status.report().records >= 2_000, 30, "all again")
    for partition in range(4):
        assert enriched(again, partition) == enriched(kafka_settings, partition)


def test_a_lost_position_halts_instead_of_starting_over(kafka: KafkaSettings) -> None:
    """The group has no offset but its output is there: starting over would double it."""
    put_changes(kafka, event(1, (200, 2), (0, 0), None))
    put_raw(kafka, kafka.enriched_topic, (0, b"enriched before the offsets were lost", b""))
    with enriching(kafka) as stage:
        stage.join()
    assert isinstance(stage.error, Fatal)
    assert "starting over would double" in str(stage.error)
    assert len(enriched(kafka)) == 1


def test_a_first_try_that_was_never_committed_is_no_work(kafka: KafkaSettings) -> None:
    """An aborted transaction leaves offsets behind but no record: the beginning is still the beginning."""
    doomed = TransactionalOutbox(kafka, f"{kafka.group('enrich')}-0")
    doomed.begin()
    doomed.produce(kafka.enriched_topic, b"never committed", None, 0)
    doomed._live().flush(10)
    put_changes(kafka, event(1, (200, 2), (0, 0), None))
    with enriching(kafka) as stage:
        wait_until(lambda: stage.status.report().records == 1, 30, "the event")
    assert len(enriched(kafka)) == 1
    doomed.close()


def test_a_position_that_was_trimmed_away_halts_with_a_remedy(kafka: KafkaSettings) -> None:
    """Retention passed the committed offset while nobody ran: never a silent jump."""
    put_changes(kafka, event(1, (200, 2), (0, 0), None))
    with enriching(kafka) as stage:
        wait_until(lambda: stage.status.report().records == 1, 30, "the event")
    put_changes(kafka, event(2, (200, 3), (0, 0), None), event(3, (200, 4), (0, 0), None))
    trim(kafka, kafka.events_topic, 0, 2)
    with enriching(kafka) as stage:
        stage.join()
    assert isinstance(stage.error, Fatal)
    assert "no longer in the log" in str(stage.error)


def test_an_idle_position_moves_over_the_markers_behind_the_last_record(kafka_settings: KafkaSettings) -> None:
    """So that retention, which deletes markers with their segment, cannot make it look trimmed."""
    road = RawRoad(kafka_settings)
    road.events(10, road.contents(1), chance=random.Random(5))
    partition = road.partition_of("content-0")
    (end,) = [m.offset() for m in list(records(kafka_settings, kafka_settings.events_topic, partition))[-1:]]
    assert end is not None
    with enriching(kafka_settings):
        wait_until(lambda: committed(kafka_settings, partition) == end + 2, 30, "the position behind the marker")
        trim(kafka_settings, kafka_settings.events_topic, partition, end + 2)
    with enriching(kafka_settings):
        road.events(10, ["content-0"], chance=random.Random(6))
        road.await_all()
    road.assert_all_arrived_once()


def test_without_exactly_once_the_same_rows_arrive(kafka_settings: KafkaSettings) -> None:
    """ENABLE_EXACTLY_ONCE=false: no transactions, the same code, and the status says so."""
    plain = kafka_settings.model_copy(update={"exactly_once": False})
    road = RawRoad(kafka_settings)
    road.events(500, road.contents(5), chance=random.Random(7))
    with enriching(plain) as stage:
        road.await_all()
        wait_until(lambda: stage.status.report().details.get("exactly_once") is False, 5, "it says so")
    road.assert_all_arrived_once()


def trim(kafka: KafkaSettings, topic: str, partition: int, before: int) -> None:
    admin = AdminClient({**kafka.client_config()})
    for future in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        future.result()

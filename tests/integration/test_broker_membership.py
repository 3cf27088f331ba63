"""A consumer that its group does not know: it has no positions to tell, and a stage that holds one joins anew.

The interleaving of a chaos run: Kafka restarts; a member's repeated JoinGroup fences it; the same poll that takes its
partitions away brings the error, once. Whoever drops that message holds a consumer that is silent for ever: the enrich
stage stood for 130 s, "running", until it was killed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, KafkaError

from engagement_stream.broker.consumer import consumer
from engagement_stream.broker.membership import SeatWatch, is_member
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.enrich.start import start_positions
from engagement_stream.errors import Retry, Stalled
from engagement_stream.settings import KafkaSettings
from engagement_stream.sinks.road import KafkaRoad
from tests.fixtures.waiting import wait_until


@contextmanager
def member(kafka: KafkaSettings, group: str, client_id: str) -> Iterator[Consumer]:
    """A member of the group on the one static seat of these tests; it has joined when this returns."""
    reader = consumer(kafka, group, **{"group.instance.id": f"{group}-0", "client.id": client_id})
    assigned: list[bool] = []
    reader.subscribe([kafka.events_topic], lambda *_: assigned.append(True))
    wait_until(lambda: reader.poll(0.1) is None and bool(assigned), 60, f"{client_id} joins")
    try:
        yield reader
    finally:
        reader.close()


def _is_fenced(reader: Consumer) -> bool:
    message = reader.poll(0.1)
    error = message.error() if message is not None else None
    return error is not None and error.code() == KafkaError._FATAL


def test_a_member_that_lost_its_seat_is_told_apart_from_one_without_partitions(kafka_settings: KafkaSettings) -> None:
    """The fence is told once; from then on only the group can say that this consumer will never get anything."""
    ensure_topics(kafka_settings)
    group = kafka_settings.group("seats")
    with member(kafka_settings, group, "first") as first:
        watch = SeatWatch(kafka_settings, group, seatless_s=0.0)
        watch.look(first)  # it may be without partitions: it belongs to the group
        with member(kafka_settings, group, "second") as second:
            wait_until(lambda: _is_fenced(first), 60, "the first one is fenced")
            assert all(first.poll(0.1) is None for _ in range(5)), "told once"
            with pytest.raises(Stalled, match=group):
                watch.look(first)
            assert not is_member(kafka_settings, group, first)
            assert is_member(kafka_settings, group, second)


def test_no_position_counts_only_for_a_member(kafka_settings: KafkaSettings) -> None:
    """A coordinator that has not read its log knows no position and no member: a sink would deliver all of it again."""
    ensure_topics(kafka_settings)
    topic, group = kafka_settings.events_topic, kafka_settings.group("enrich")
    stranger = consumer(kafka_settings, group)
    with pytest.raises(Retry, match="neither positions nor this member"):
        start_positions(kafka_settings, stranger, [(topic, 0)])
    with pytest.raises(Retry, match="neither positions nor this member"):
        KafkaRoad(kafka_settings, stranger, topic, group).committed([0])
    stranger.close()
    with member(kafka_settings, group, "known") as known:
        assert start_positions(kafka_settings, known, [(topic, 0)]) == {(topic, 0): 0}
        assert KafkaRoad(kafka_settings, known, topic, group).committed([0]) == {0: None}

"""The watch over a consumer: silence is a stall only while the log holds more, and only the second time."""

import pytest

from engagement_stream.broker import stall
from engagement_stream.broker.stall import StallWatch
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.broker.transaction import TransactionalOutbox
from engagement_stream.errors import Stalled
from engagement_stream.settings import KafkaSettings


def _produce(outbox: TransactionalOutbox, kafka: KafkaSettings) -> None:
    outbox.begin()
    outbox.produce(kafka.events_topic, b"{}", b"key", 0)
    outbox.commit()


def test_only_silence_beside_unread_records_is_a_stall(
    kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the log silence is right; an open transaction of somebody else's is no stall either."""
    monkeypatch.setattr(stall, "_QUIET_S", 0.0)
    ensure_topics(kafka_settings)
    outbox = TransactionalOutbox(kafka_settings, kafka_settings.group("test"))
    _produce(outbox, kafka_settings)
    watch = StallWatch(kafka_settings, kafka_settings.events_topic)
    for _ in range(3):
        watch.look({0: 2})  # the record and its marker are read
    outbox.begin()
    outbox.produce(kafka_settings.events_topic, b"{}", b"key", 0)
    for _ in range(3):
        watch.look({0: 2})  # not committed
    outbox.commit()
    watch.look({0: 2})
    watch.heard()
    watch.look({0: 2})  # the first suspicion after a sign of life
    with pytest.raises(Stalled, match=r"\[0\]"):
        watch.look({0: 2})
    outbox.close()

"""The HTTP sink against a real receiver and a real broker: what arrives, in which order, how often."""

import msgspec

from engagement_stream.model.engagement import SNAPSHOT, Engagement, Watermark
from engagement_stream.settings import HttpSettings, KafkaSettings
from engagement_stream.stack.receiver import ReceiverServer
from tests.fixtures.http import EnrichedTopic, engagement, http_stage
from tests.fixtures.waiting import wait_until


def test_every_event_arrives_once_in_order_with_its_values(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """Values too: the data is the enriched record's own."""
    sent = [engagement(n, content=n % 7, duration_ms=n) for n in range(500)]
    for start in range(0, 500, 50):
        enriched.put(sent[start : start + 50])
    with http_stage(http_settings, kafka_settings):
        wait_until(lambda: receiver.stats().events == 500, 20, "all events arrive")
    stats = receiver.stats(thorough=True)
    assert (stats.received, stats.disorder, stats.differing_events) == (500, 0, 0)
    arrived = {event.id: msgspec.json.decode(event.data, type=Engagement) for event in receiver.events()}
    assert arrived == {str(event.event_id): event for event in sent}


def test_history_and_watermarks_are_not_sent_but_the_position_passes_them(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """A range without anything to send makes no request at all."""
    enriched.put([engagement(n, source=SNAPSHOT) for n in range(100)], partition=0)
    enriched.put([Watermark(1, "w", (1, 2), 3)], partition=1)
    with http_stage(http_settings, kafka_settings) as status:
        wait_until(lambda: status.report().details.get("lag_records") == 0, 20, "the position passes them")
        assert receiver.stats().requests == 0
        enriched.put([engagement(1000)], partition=0)
        wait_until(lambda: receiver.stats().events == 1, 20, "a live event arrives")

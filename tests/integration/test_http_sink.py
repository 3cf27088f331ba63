"""The HTTP sink against a real receiver and a real broker: what arrives, in which order, how often."""

from collections.abc import Mapping

import msgspec
import pytest

from engagement_stream.errors import Retry
from engagement_stream.model.engagement import SNAPSHOT, Engagement, Watermark
from engagement_stream.settings import HttpSettings, KafkaSettings
from engagement_stream.sinks.base import Checkpoint
from engagement_stream.sinks.http import HttpSink
from engagement_stream.stack.receiver import ReceiverServer
from tests.fixtures.engagements import record
from tests.fixtures.http import EnrichedTopic, engagement, http_stage
from tests.fixtures.road import MemoryLog, MemoryRoad
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


class _ForgetfulRoad(MemoryRoad):
    """Its brokers do not answer the commit of the given number."""

    fails_at = 0

    def commit(self, checkpoints: Mapping[int, Checkpoint], *, wait: bool = True) -> None:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise Retry("Kafka does not take positions")
        super().commit(checkpoints, wait=wait)


@pytest.mark.parametrize("failing_commit", [1, 2, 3])
def test_a_commit_that_failed_is_made_again_and_nothing_is_sent_twice_for_it(
    receiver: ReceiverServer, http_settings: HttpSettings, failing_commit: int
) -> None:
    """Before the first send, between two batches, after the last one; the receipt counts each event once."""
    log = MemoryLog()
    log.append(0, [record(number, content=number) for number in range(1, 21)])
    road = _ForgetfulRoad(log, log.road().generation)
    road.fails_at = failing_commit
    sink = HttpSink(http_settings)
    position = sink.open([0], road)[0]
    counted = 0
    with pytest.raises(Retry):
        sink.write([log.slice(0, position)])
    while position < log.ends[0]:
        receipt = sink.write([log.slice(0, position)])
        position, counted = receipt.durable[0], counted + receipt.records
    sink.close()
    assert counted == 20
    assert receiver.stats().received == 20

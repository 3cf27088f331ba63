"""Quix Streams, exactly once, one commit a second (its own advice for throughput; the default is every five)."""

import sys

from enrichment import enrich, read_contents
from quixstreams import Application

broker, group, raw, content, output = sys.argv[1:]
contents = read_contents(broker, content)
app = Application(
    broker_address=broker,
    consumer_group=group,
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=1.0,
    auto_create_topics=False,
    use_changelog_topics=False,
    producer_extra_config={"compression.type": "lz4", "linger.ms": 10, "queue.buffering.max.messages": 500_000},
    consumer_extra_config={"queued.max.messages.kbytes": 65_536},
    loglevel="WARNING",
)
events = app.dataframe(app.topic(raw, value_deserializer="bytes", key_deserializer="bytes"))
events = events.apply(lambda value: enrich(value, contents))
events.to_topic(app.topic(output, value_serializer="bytes", key_serializer="bytes"))
app.run()

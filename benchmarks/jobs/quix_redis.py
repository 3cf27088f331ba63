"""Quix Streams to Redis by its own sink: one key per event, at least once (it has no other); a commit a second."""

import sys

from quixstreams import Application
from quixstreams.sinks.community.redis import RedisSink

broker, group, enriched, host, port = sys.argv[1:]
app = Application(
    broker_address=broker,
    consumer_group=group,
    auto_offset_reset="earliest",
    commit_interval=1.0,
    auto_create_topics=False,
    use_changelog_topics=False,
    consumer_extra_config={"queued.max.messages.kbytes": 65_536},
    loglevel="WARNING",
)
sink = RedisSink(
    host=host,
    port=int(port),
    db=1,
    value_serializer=lambda value: value,
    key_serializer=lambda _key, value: value[:40],  # the event's id is in there
)
app.dataframe(app.topic(enriched, value_deserializer="bytes", key_deserializer="bytes")).sink(sink)
app.run()

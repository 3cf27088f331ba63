"""Faust (faust-streaming), exactly once."""

import sys

import faust
from enrichment import enrich, read_contents

broker, group, raw, content, output = sys.argv[1:]
contents = read_contents(broker, content)
app = faust.App(
    group,
    broker=f"kafka://{broker}",
    processing_guarantee="exactly_once",
    broker_commit_interval=1.0,
    topic_partitions=4,
    topic_replication_factor=1,
    topic_allow_declare=False,
    value_serializer="raw",
    key_serializer="raw",
    stream_buffer_maxsize=65_536,
    producer_linger=0.01,
    web_enabled=False,
    store="memory://",
)
source = app.topic(raw, value_type=bytes, key_type=bytes)
target = app.topic(output, value_type=bytes, key_type=bytes)


@app.agent(source)
async def job(stream: faust.Stream[bytes]) -> None:
    async for batch in stream.take(2_000, within=0.1):
        for value in batch:
            await target.send(value=enrich(value, contents))


sys.argv = [sys.argv[0], "worker", "-l", "warn", "--without-web"]
app.main()

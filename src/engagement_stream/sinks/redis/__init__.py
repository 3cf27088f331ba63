"""Enriched events into Redis as live totals and rankings, and the readers that ask for them.

For your own code:

    from engagement_stream.sinks.redis import connect

    redis_sink = connect()                      # REDIS_URL and the other settings of the environment
    await redis_sink.get_top_content(limit=10)
    await redis_sink.get_content_stats(content_id)
    await redis_sink.get_recent_events(content_id, count=50)
    await redis_sink.close()                    # or: async with connect() as redis_sink
"""

from engagement_stream.sinks.redis.reader import ContentStats, RecentEvent, RedisReader, TopContent, connect
from engagement_stream.sinks.redis.sink import RedisSink

__all__ = ["ContentStats", "RecentEvent", "RedisReader", "RedisSink", "TopContent", "connect"]

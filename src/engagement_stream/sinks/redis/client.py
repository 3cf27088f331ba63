"""The blocking connection to Redis: whoever holds it decides about waiting and trying again."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as ClientRetry

from engagement_stream.settings import RedisSettings


def blocking_client(settings: RedisSettings) -> redis.Redis:
    """Not connected yet; every call ends within seconds."""
    return redis.Redis.from_url(
        settings.url.get_secret_value(),
        socket_timeout=5.0,
        socket_connect_timeout=5.0,
        retry=ClientRetry(NoBackoff(), 0),
    )

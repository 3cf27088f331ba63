"""The Redis sink keeps the contract, on a real Valkey."""

from collections import Counter
from collections.abc import Iterator

import pytest
import redis
from pydantic import SecretStr

from engagement_stream.chaos.proxy import Proxy
from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis import RedisSink
from engagement_stream.stack.valkey import ValkeyServer
from tests.contract.sink_contract import SinkContract


class RedisCase:
    """Counts are the `events` counters: each event of the contract has a content of its own, numbered like it."""

    def __init__(self, url: str, proxy: Proxy) -> None:
        self.proxy = proxy
        self._url = url
        database = url.rsplit("/", 1)[1]
        self._settings = RedisSettings(url=SecretStr(f"redis://127.0.0.1:{proxy.port}/{database}"))

    def make(self) -> RedisSink:
        return RedisSink(self._settings)

    def delivered(self) -> Counter[int]:
        with redis.Redis.from_url(self._url, decode_responses=True) as client:
            keys = list(client.scan_iter("engagement:{*}:content:*"))
            return Counter({int(key.rsplit("-", 1)[1]): int(client.hget(key, "events") or 0) for key in keys})


@pytest.fixture
def case(valkey_server: ValkeyServer, redis_url: str) -> Iterator[RedisCase]:
    """An empty database behind a proxy."""
    proxy = Proxy(valkey_server.port)
    yield RedisCase(redis_url, proxy)
    proxy.close()


class TestRedis(SinkContract):
    """See SinkContract."""

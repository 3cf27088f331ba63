"""The Redis sink keeps the contract, on a real Valkey."""

from collections import Counter
from collections.abc import Iterator

import pytest
import redis
from pydantic import SecretStr

from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis import RedisSink
from engagement_stream.stack.valkey import ValkeyServer
from tests.contract.fault_contract import FaultContract
from tests.contract.sink_contract import SinkContract
from tests.fixtures.faulty_proxy import FaultyProxy


class RedisCase:
    """Counts are the `events` counters: each event of the contract has a content of its own, numbered like it."""

    def __init__(self, url: str, proxy: FaultyProxy) -> None:
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

    def refuse(self) -> None:
        """No memory left: whatever writes is answered OOM."""
        self._limit_memory(1)

    def accept(self) -> None:
        self._limit_memory(0)

    def _limit_memory(self, size_bytes: int) -> None:
        with redis.Redis.from_url(self._url) as client:
            client.config_set("maxmemory", size_bytes)


@pytest.fixture
def case(valkey_server: ValkeyServer, redis_url: str) -> Iterator[RedisCase]:
    """An empty database behind a proxy."""
    proxy = FaultyProxy(valkey_server.port)
    yield RedisCase(redis_url, proxy)
    proxy.close()


class TestRedis(SinkContract, FaultContract):
    """See SinkContract and FaultContract."""

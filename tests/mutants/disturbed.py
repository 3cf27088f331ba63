"""A sink in trouble, in a process that may be mutated: `python -m tests.mutants.disturbed SINK SETTINGS`.

The log is the same each time, so whoever started this knows what has to be there afterwards.
"""

import contextlib
import json
import sys
from collections import Counter
from pathlib import Path

import redis
from pydantic import SecretStr

from engagement_stream.chaos.proxy import Proxy
from engagement_stream.errors import EngagementError, Reopen, Retry
from engagement_stream.settings import BigQuerySettings, RedisSettings
from engagement_stream.sinks.base import Sink
from engagement_stream.sinks.redis import RedisSink
from engagement_stream.stack.bigquery import BigQueryServer
from tests.contract.sink_contract import Worker
from tests.fixtures.engagements import record
from tests.fixtures.road import MemoryLog

_PATIENCE_S = 15.0
EVENTS = 60


def grown(log: MemoryLog, events: int) -> MemoryLog:
    """The log, up to this event: transactions of ten."""
    for first in range(sum(map(len, log.records.values())) + 1, events, 10):
        log.append(0, [record(number, content=number % 5) for number in range(first, first + 10)])
    return log


class _RedisCase:
    """A sink behind a proxy."""

    def __init__(self, url: str) -> None:
        server, _, database = url.rpartition("/")
        self.proxy = Proxy(int(server.rpartition(":")[2]))
        self._settings = RedisSettings(url=SecretStr(f"redis://127.0.0.1:{self.proxy.port}/{database}"))

    def make(self) -> Sink:
        return RedisSink(self._settings)

    def delivered(self) -> Counter[int]:
        raise NotImplementedError  # looked at by who started us


def _redis(settings: str) -> None:
    url = json.loads(settings)["url"]
    case, log = _RedisCase(url), grown(MemoryLog(), 20)
    first = Worker(case, log)
    first.offer({0: 7})
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    with contextlib.suppress(Reopen):
        first.offer({0: 13})
    first.open()
    first.offer({0: 15})
    _lose_an_answer(case.proxy, first, {0: 18})
    grown(log, 30)
    first.deliver(_PATIENCE_S)
    grown(log, 40)
    successor = Worker(case, log)
    grown(log, 50)
    successor.deliver(_PATIENCE_S)
    with contextlib.suppress(EngagementError):
        first.offer({0: log.ends[0] - 15})  # it still believes to stand where it stood
    grown(log, EVENTS)
    successor.deliver(_PATIENCE_S)


def _bigquery(settings: str) -> None:
    from tests.contract.test_bigquery_contract import BigQueryCase
    from tests.fixtures.bigquery import Proxies

    direct = BigQuerySettings(**json.loads(settings))
    rest, grpc = (int(str(at).rpartition(":")[2]) for at in (direct.rest_endpoint, direct.grpc_endpoint))
    case, log = BigQueryCase(direct, Proxies(BigQueryServer(Path("unused"), rest, grpc))), grown(MemoryLog(), EVENTS)
    worker = Worker(case, log)
    worker.offer({0: 7})
    _lose_an_answer(case.proxy, worker, {0: 18})
    worker.deliver(_PATIENCE_S)
    worker.sink.close()


def _lose_an_answer(proxy: Proxy, worker: Worker, ends: dict[int, int]) -> None:
    proxy.drop_answers()
    with contextlib.suppress(Retry, Reopen):
        worker.offer(ends)
    assert proxy.answers_dropped
    proxy.heal()


if __name__ == "__main__":
    {"redis": _redis, "bigquery": _bigquery}[sys.argv[1]](sys.argv[2])

"""The HTTP sink keeps the contract, on a receiver that knows every event by its id."""

from collections import Counter
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from engagement_stream.settings import HttpSettings
from engagement_stream.sinks.http import HttpSink
from engagement_stream.stack.receiver import ReceiverServer
from engagement_stream.stack.receiver.faults import Reject
from tests.contract.fault_contract import FaultContract
from tests.contract.sink_contract import SinkContract
from tests.fixtures.faulty_proxy import FaultyProxy
from tests.fixtures.http import overlapping


class HttpCase:
    """Delivery is at least once, the effect is once: what counts are the receiver's effects, and how repeats look."""

    def __init__(self, receiver: ReceiverServer, proxy: FaultyProxy) -> None:
        self.proxy = proxy
        self.receiver = receiver
        self._settings = HttpSettings(
            url=SecretStr(f"http://127.0.0.1:{proxy.port}/events"),
            secret=SecretStr(receiver.secret),
            batch_size=4,
            timeout_s=2,
        )

    def make(self) -> HttpSink:
        return HttpSink(self._settings)

    def delivered(self) -> Counter[int]:
        return Counter(int(event.id) for event in self.receiver.events())

    def refuse(self) -> None:
        """503 to everything."""
        self.receiver.fail(Reject(times=0, status=503))

    def accept(self) -> None:
        self.receiver.behave()


@pytest.fixture
def case(receiver: ReceiverServer) -> Iterator[HttpCase]:
    """An empty receiver behind a proxy; whatever the test did, repeats were the same bytes under the same key."""
    proxy = FaultyProxy(receiver.port)
    yield HttpCase(receiver, proxy)
    proxy.close()
    stats = receiver.stats(thorough=True)
    assert (stats.differing_events, stats.differing_requests, stats.disorder) == (0, 0, 0)
    assert overlapping(receiver.requests()) == []


class TestHttp(SinkContract, FaultContract):
    """See SinkContract and FaultContract."""

"""The BigQuery sink keeps the contract, on the emulator."""

from collections import Counter
from collections.abc import Iterator

import grpc
import pytest

from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery import BigQuerySink
from engagement_stream.stack.bigquery import BigQueryServer
from tests.contract.fault_contract import FaultContract
from tests.contract.sink_contract import SinkContract
from tests.fixtures.bigquery import Proxies, delivered, proxied
from tests.fixtures.bigquery_relay import Fault, Relay


class BigQueryCase:
    """Counts are the rows of the table that are no placeholders."""

    def __init__(self, settings: BigQuerySettings, proxies: Proxies, relay: Relay | None = None) -> None:
        self.proxy, self._relay = proxies, relay
        self._settings = settings
        self._proxied = proxied(settings, proxies)

    def make(self) -> BigQuerySink:
        return BigQuerySink(self._proxied, answer_s=5.0)

    def delivered(self) -> Counter[int]:
        return delivered(self._settings)

    def refuse(self) -> None:
        """No quota left: every append is answered RESOURCE_EXHAUSTED."""
        assert self._relay is not None
        self._relay.faults.extend([Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, by="answer")] * 1_000)

    def accept(self) -> None:
        if self._relay is not None:
            self._relay.faults.clear()


@pytest.fixture
def case(bigquery_server: BigQueryServer, bigquery_settings: BigQuerySettings) -> Iterator[BigQueryCase]:
    """A dataset of its own, both of the emulator's ports behind proxies, and a relay that can refuse."""
    relay = Relay(bigquery_settings.grpc_endpoint)
    proxies = Proxies(bigquery_server, int(relay.endpoint.rpartition(":")[2]))
    yield BigQueryCase(bigquery_settings, proxies, relay)
    proxies.close()
    relay.close()


class TestBigQuery(SinkContract, FaultContract):
    """See SinkContract and FaultContract."""

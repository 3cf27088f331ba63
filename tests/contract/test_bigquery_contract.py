"""The BigQuery sink keeps the contract, on the emulator."""

from collections import Counter
from collections.abc import Iterator

import pytest

from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery import BigQuerySink
from engagement_stream.sinks.bigquery.client import rest_client
from engagement_stream.sinks.bigquery.table import table_id
from engagement_stream.stack.bigquery import BigQueryServer
from tests.contract.sink_contract import SinkContract
from tests.fixtures.proxy import Proxy


class BigQueryCase:
    """Counts are rows of the table; the Storage Write API goes through the proxy."""

    def __init__(self, settings: BigQuerySettings, proxy: Proxy) -> None:
        self.proxy = proxy
        self._settings = settings
        self._proxied = settings.model_copy(update={"grpc_endpoint": f"127.0.0.1:{proxy.port}", "interval_s": 0.05})

    def make(self) -> BigQuerySink:
        return BigQuerySink(self._proxied, call_s=2.0)

    def delivered(self) -> Counter[int]:
        query = f"SELECT event_id, COUNT(*) FROM `{table_id(self._settings)}` WHERE NOT _dlq GROUP BY event_id"
        return Counter({int(row[0]): int(row[1]) for row in rest_client(self._settings).query(query).result()})


@pytest.fixture
def case(bigquery_server: BigQueryServer, bigquery_settings: BigQuerySettings) -> Iterator[BigQueryCase]:
    """A dataset of its own behind a proxy."""
    proxy = Proxy(int(bigquery_server.grpc_endpoint.rsplit(":", 1)[1]))
    yield BigQueryCase(bigquery_settings, proxy)
    proxy.close()


class TestBigQuery(SinkContract):
    """See SinkContract."""

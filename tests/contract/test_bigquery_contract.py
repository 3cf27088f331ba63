"""The BigQuery sink keeps the contract, on the emulator."""

from collections import Counter
from collections.abc import Iterator

import pytest

from engagement_stream.chaos.proxy import Proxy
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery import BigQuerySink
from engagement_stream.stack.bigquery import BigQueryServer
from tests.contract.sink_contract import SinkContract
from tests.fixtures.bigquery import Proxies, delivered, proxied


class BigQueryCase:
    """Counts are the rows of the table that are no placeholders."""

    def __init__(self, settings: BigQuerySettings, proxies: Proxies) -> None:
        self.proxy: Proxy = proxies
        self._settings = settings
        self._proxied = proxied(settings, proxies)

    def make(self) -> BigQuerySink:
        return BigQuerySink(self._proxied, answer_s=5.0)

    def delivered(self) -> Counter[int]:
        return delivered(self._settings)


@pytest.fixture
def case(bigquery_server: BigQueryServer, bigquery_settings: BigQuerySettings) -> Iterator[BigQueryCase]:
    """A dataset of its own, both of the emulator's ports behind proxies."""
    proxies = Proxies(bigquery_server)
    yield BigQueryCase(bigquery_settings, proxies)
    proxies.close()


class TestBigQuery(SinkContract):
    """See SinkContract."""

"""The queue over HTTP: who may do what, and what a dashboard shows and does."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from pydantic import SecretStr

from engagement_stream.api.app import create_app
from engagement_stream.api.server import serve_app
from engagement_stream.settings import ApiSettings, KafkaSettings, RedisSettings
from engagement_stream.sinks.redis import connect
from tests.fixtures.api_server import api_server, settings_with
from tests.fixtures.dead_letters import letter, pass_by, put_letters, sent_back
from tests.fixtures.waiting import wait_until

_TOKEN = "open sesame"


@pytest.fixture
def kafka(kafka_settings: KafkaSettings) -> KafkaSettings:
    """Four letters of two stages, which are past their records."""
    topic = kafka_settings.enriched_topic
    put_letters(kafka_settings, [letter("http", topic, 1, n, b'{"user":"u%d"}' % n) for n in range(3)])
    put_letters(kafka_settings, [letter("redis", topic, 2, 9, b"\xff", "malformed")])
    for stage in ("http", "redis"):
        pass_by(kafka_settings, stage, topic, 100)
    return kafka_settings


@contextmanager
def api(kafka: KafkaSettings, token: str = "") -> Iterator[httpx.Client]:
    """The API over this queue."""
    settings = settings_with(kafka=kafka, api=ApiSettings(token=SecretStr(token)))

    async def run(stop: asyncio.Event, listener: socket.socket) -> None:
        async with connect(RedisSettings()) as reader:
            await serve_app(create_app(settings, reader), stop, listener)

    with api_server(run, ApiSettings.model_construct(host="127.0.0.1", port=0)) as client:
        client.timeout = httpx.Timeout(60)
        yield client


def test_a_dashboard_lists_counts_shows_replays_and_discards(kafka: KafkaSettings) -> None:
    """Pages, filters, figures; replayed twice is replayed once; a bulk discard has to be confirmed."""
    with api(kafka) as client:
        page = client.get("/dlq", params={"limit": 3}).json()
        assert (page["total"], len(page["letters"])) == (4, 3)
        assert len(client.get("/dlq", params={"limit": 3, "before": page["next"]}).json()["letters"]) == 1
        assert client.get("/dlq", params={"stage": "redis", "reason": "malformed"}).json()["total"] == 1
        assert client.get("/dlq", params={"since": "2100-01-01T00:00:00Z"}).json()["total"] == 0
        assert client.get("/dlq", params={"before": "nonsense"}).status_code == 422
        summary = client.get("/dlq/summary").json()
        assert (summary["open"], summary["replayed"], summary["discarded"]) == (4, 0, 0)
        assert {(c["stage"], c["reason"], c["open"]) for c in summary["counts"]} == {
            ("http", "refused", 3),
            ("redis", "malformed", 1),
        }
        first = f"http~{kafka.enriched_topic}~1~0"
        shown = client.get(f"/dlq/{first}").json()
        assert (shown["payload"], shown["replayable"], shown["detail"]) == ('{"user":"u0"}', True, "because of a test")
        assert client.get(f"/dlq/redis~{kafka.enriched_topic}~2~9").json()["payload"] is None
        assert client.get("/dlq/http~nothing~0~0").status_code == 404
        assert client.post("/dlq/replay", json={"ids": [first]}).json()["done"] == 1
        again = client.post("/dlq/replay", json={"ids": [first, "http~nothing~0~0"]}).json()
        assert (again["done"], again["handled_before"], again["unknown"]) == (0, 1, ["http/nothing/0/0"])
        bulk = client.post("/dlq/replay", json={"filter": {"stage": "http"}, "limit": 1}).json()
        assert (bulk["done"], bulk["left"]) == (1, 1)
        assert client.post("/dlq/replay", json={}).status_code == 422
        assert client.post("/dlq/discard", json={"filter": {}}).status_code == 422
        assert client.post("/dlq/discard", json={"filter": {}, "confirm": True}).json()["done"] == 2
        summary = client.get("/dlq/summary").json()
        assert (summary["open"], summary["replayed"], summary["discarded"]) == (0, 2, 2)
        assert len(sent_back(kafka, "http")) == 2
        handled = client.get("/dlq", params={"state": "discarded"}).json()["letters"][0]
        assert handled["handled_by"] == "loopback"
        metrics = wait_until(lambda: _dlq_lines(client), 30.0, "the metrics")
        assert 'engagement_dlq_open{process="api",reason="refused",stage="http"} 0.0' in metrics
        assert 'engagement_dlq_replayed_total{process="api",stage="http"} 2.0' in metrics


def _dlq_lines(client: httpx.Client) -> list[str]:
    lines = client.get("/metrics/prometheus").text.splitlines()
    return [line for line in lines if line.startswith("engagement_dlq_") and "_created" not in line]


_FOREIGN = (
    {"Host": "evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"X-Forwarded-For": "127.0.0.1"},
)


def test_without_a_token_only_this_machine_itself_may(kafka: KafkaSettings) -> None:
    """Not a page of another site, not a name that leads here, not what a proxy passes on; lists are free."""
    with api(kafka) as client:
        for headers in _FOREIGN:
            for answer in (
                client.post("/dlq/replay", json={"filter": {}}, headers=headers),
                client.post("/dlq/discard", json={"filter": {}, "confirm": True}, headers=headers),
                client.get(f"/dlq/http~{kafka.enriched_topic}~1~0", headers=headers),
            ):
                assert answer.status_code == 403, headers
                assert "API_TOKEN" in answer.json()["remedy"]
                assert "user" not in answer.text
        assert client.get("/dlq", headers=_FOREIGN[1]).json()["total"] == 4
    assert not sent_back(kafka, "http")


def test_with_a_token_nothing_but_the_token_counts(kafka: KafkaSettings) -> None:
    """Also from this machine; with it a request may come from anywhere."""
    with api(kafka, _TOKEN) as client:
        for authorization in (None, "Bearer wrong", f"Basic {_TOKEN}", "Bearer"):
            headers = {} if authorization is None else {"Authorization": authorization}
            refused = client.post("/dlq/replay", json={"filter": {}}, headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert _TOKEN not in refused.text
        allowed = {"Authorization": f"Bearer {_TOKEN}", "X-Forwarded-For": "203.0.113.9"}
        assert client.post("/dlq/replay", json={"filter": {"stage": "http"}}, headers=allowed).json()["done"] == 3
        assert client.get(f"/dlq/http~{kafka.enriched_topic}~1~0", headers=allowed).json()["handled_by"] == "token"


def test_the_description_names_every_answer(kafka_settings: KafkaSettings) -> None:
    """OpenAPI has the endpoints with their types and refusals."""
    paths = create_app(settings_with(kafka=kafka_settings), _NoReader()).openapi()["paths"]  # type: ignore[arg-type]  # never asked
    assert {"200", "401", "403", "409", "422", "503"} <= paths["/dlq/replay"]["post"]["responses"].keys()
    assert {"200", "401", "403", "404", "422", "503"} <= paths["/dlq/{letter_id}"]["get"]["responses"].keys()
    assert "/dlq/summary" in paths


class _NoReader:
    pass

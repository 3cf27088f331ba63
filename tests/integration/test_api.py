"""The API as people and Prometheus meet it: real HTTP, stage processes that come and go."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from engagement_stream.api.app import create_app
from engagement_stream.api.health import HTTP_GUARANTEE
from engagement_stream.api.scrape import Stages
from engagement_stream.api.server import serve, serve_app
from engagement_stream.settings import ApiSettings, KafkaSettings, RedisSettings
from engagement_stream.sinks.redis import connect
from engagement_stream.stack.ports import free_port
from tests.fixtures.api_server import api_server, settings_with
from tests.fixtures.stage_process import StageProcess
from tests.fixtures.waiting import wait_until

NAMES = ("capture", "enrich", "redis", "http")


class MovableClock:
    """A monotonic clock that tests put forward."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def stages() -> Iterator[dict[str, StageProcess]]:
    """Four stage processes; whoever kills one starts it again."""
    processes = {name: StageProcess(name, free_port()) for name in NAMES}
    try:
        for process in processes.values():
            process.start()
        yield processes
    finally:
        for process in processes.values():
            process.kill()


@pytest.fixture
def clock() -> MovableClock:
    """The clock by which the API measures standstill."""
    return MovableClock()


@pytest.fixture
def api(stages: dict[str, StageProcess], redis_settings: RedisSettings, clock: MovableClock) -> Iterator[httpx.Client]:
    """The API over these stages and an empty Valkey; it looks at every request, so that tests need not wait."""
    for process in stages.values():
        process.tell("running")
        process.tell("detail", lag_records=0)
    settings = settings_with(redis=redis_settings)
    endpoints = {name: process.url for name, process in stages.items()}
    settings.api = ApiSettings(stage_endpoints=",".join(f"{name}={url}" for name, url in endpoints.items()))

    async def run(stop: asyncio.Event, listener: socket.socket) -> None:
        async with connect(redis_settings) as reader:
            app = create_app(settings, reader, Stages(endpoints, clock, fresh_s=0.0))
            await serve_app(app, stop, listener)

    with api_server(run, ApiSettings.model_construct(host="127.0.0.1", port=0)) as client:
        yield client


def test_a_pipeline_that_runs_is_ok_and_says_what_it_promises(api: httpx.Client) -> None:
    """200, one verdict a stage, one promise a sink."""
    answer = api.get("/health")
    body = answer.json()
    assert (answer.status_code, body["status"]) == (200, "ok")
    assert {name: stage["state"] for name, stage in body["stages"].items()} == dict.fromkeys(NAMES, "running")
    assert body["guarantees"] == {"redis": "exactly once", "http": HTTP_GUARANTEE}
    assert body["dependencies"]["redis"] == {"reachable": True, "required": True, "reason": ""}


def test_a_halted_stage_shows_its_reason_and_remedy(api: httpx.Client, stages: dict[str, StageProcess]) -> None:
    """503, and the sentence that tells a person what to do."""
    stages["http"].tell("halted", "the slot is gone", "run `engagement rebuild`")
    answer = api.get("/health")
    stage = answer.json()["stages"]["http"]
    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")
    assert (stage["state"], stage["reason"], stage["remedy"]) == (
        "halted",
        "the slot is gone",
        "run `engagement rebuild`",
    )
    assert api.get("/health/live").status_code == 200
    assert api.get("/health/ready").status_code == 200


def test_a_stage_that_stands_still_before_waiting_records_is_stalled(
    api: httpx.Client, stages: dict[str, StageProcess], clock: MovableClock
) -> None:
    """Its process is up and calls itself running; health looks at progress."""
    stages["redis"].tell("detail", lag_records=12)
    assert api.get("/health").status_code == 200
    clock.now_s += 31
    for process in stages.values():
        process.tell("running")
    answer = api.get("/health")
    assert (answer.status_code, answer.json()["stages"]["redis"]["state"]) == (503, "stalled")
    stages["redis"].tell("progress", 1)
    assert api.get("/health").status_code == 200


def test_a_stage_whose_loop_hangs_is_stalled_although_it_reported_no_lag(
    api: httpx.Client, stages: dict[str, StageProcess], clock: MovableClock
) -> None:
    """The status server answers from a thread of its own, whatever the stage's loop does."""
    assert api.get("/health").status_code == 200
    clock.now_s += 31
    for name in NAMES[1:]:
        stages[name].tell("running")
    body = api.get("/health").json()
    assert body["stages"]["capture"]["state"] == "stalled"
    assert body["stages"]["enrich"]["state"] == "running"
    stages["capture"].tell("running")
    assert api.get("/health").status_code == 200


def test_a_killed_stage_is_unreachable_and_healthy_again_when_it_is_back(
    api: httpx.Client, stages: dict[str, StageProcess]
) -> None:
    """Capture is the only way in, so without it the pipeline is down."""
    stages["capture"].kill()
    try:
        answer = api.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "down")
        assert answer.json()["stages"]["capture"]["state"] == "unreachable"
        assert 'engagement_stage_up{stage="capture"} 0.0' in api.get("/metrics/prometheus").text
        assert api.get("/metrics").json()["stages"]["capture"]["up"] is False
    finally:
        stages["capture"].start()
    stages["capture"].tell("running")
    assert api.get("/health").json()["status"] == "ok"


def test_a_frozen_stage_does_not_hold_up_the_answer(api: httpx.Client, stages: dict[str, StageProcess]) -> None:
    """Its port is open, nobody answers: bounded."""
    stages["enrich"].freeze()
    try:
        answer = api.get("/health", timeout=6)
        assert "no answer" in answer.json()["stages"]["enrich"]["reason"]
        assert answer.json()["stages"]["redis"]["state"] == "running"
    finally:
        stages["enrich"].thaw()
    wait_until(lambda: api.get("/health").status_code == 200, 10, "the stage answers again")


def test_what_is_no_stage_is_unreachable_with_a_sentence(stages: dict[str, StageProcess], redis_url: str) -> None:
    """Nobody there, another kind of server, another path, no URL at all, a password: never an exception."""
    endpoints = {
        "gone": f"http://127.0.0.1:{free_port()}",
        "valkey": redis_url.replace("redis://", "http://"),
        "path": stages["http"].url.replace("http://", "http://user:s3cret@") + "/elsewhere",
        "plain": "127.0.0.1:41001",
        "broken": "http://[::1",
    }

    async def look() -> dict[str, str]:
        watched = Stages(endpoints)
        try:
            assert set((await watched.metrics()).values()) == {None}
            return {name: seen.look.why for name, seen in (await watched.statuses()).items()}
        finally:
            await watched.close()

    why = asyncio.run(look())
    assert why["gone"].startswith("nothing answers at 127.0.0.1:")
    assert why["valkey"].startswith("nothing answers at 127.0.0.1:")
    assert why["path"] == f"127.0.0.1:{stages['http'].port} answers 404 to /status"
    assert "not an http:// URL" in why["plain"]
    assert "not an http:// URL" in why["broken"]


def test_metrics_of_all_processes_are_one_valid_exposition(api: httpx.Client, stages: dict[str, StageProcess]) -> None:
    """Every family is declared once, every series appears once, every process is there."""
    stages["redis"].tell("durable", 5, [1])
    answer = api.get("/metrics/prometheus")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    series = [(s.name, *sorted(s.labels.items())) for family in families for s in family.samples]
    assert len(series) == len(set(series))
    cpu = next(family for family in families if family.name == "process_cpu_seconds")
    assert {s.labels["process"] for s in cpu.samples} == {*NAMES, "api"}


def test_metrics_as_json_name_the_figures(
    api: httpx.Client, stages: dict[str, StageProcess], clock: MovableClock
) -> None:
    """Records, rate, lag, latency, process."""
    before = api.get("/metrics").json()["stages"]["redis"]
    stages["redis"].tell("progress", 40)
    stages["redis"].tell("durable", 40, [1, 2])
    stages["redis"].tell("detail", lag_records=7)
    clock.now_s += 2
    after = api.get("/metrics").json()
    redis = after["stages"]["redis"]
    assert redis["up"]
    assert redis["records"] - (before["records"] or 0) == 40
    assert redis["records_per_s"] == 20
    assert redis["lag_records"] == 7
    assert redis["latency"]["count"] >= 2
    assert redis["latency"]["p99_s"] > 0
    assert redis["dead_letters"] == redis["retries"] == 0
    for process in (redis["process"], after["api"]):
        assert process["cpu_seconds"] > 0
        assert process["resident_bytes"] > 1_000_000


def test_openapi_describes_every_answer_and_needs_nothing_from_elsewhere(api: httpx.Client) -> None:
    """Typed bodies, errors included; the page for people is self-contained and may load nothing else."""
    paths = api.get("/openapi.json").json()["paths"]
    assert {
        "/health", "/health/live", "/health/ready", "/metrics", "/metrics/prometheus", "/top-content",
        "/content/{content_id}/stats", "/content/{content_id}/recent", "/live", "/live/snapshot",
        "/dlq", "/dlq/summary", "/dlq/{letter_id}", "/dlq/replay", "/dlq/discard",
    } == set(paths)  # fmt: skip
    refused = paths["/content/{content_id}/stats"]["get"]["responses"]
    for status in ("404", "422", "503"):
        assert refused[status]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    page = api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/nowhere", 404, "nothing at /nowhere"),
        ("/top-content?limit=0", 422, "limit: input should be greater than or equal to 1"),
        ("/top-content?limit=101", 422, "limit: input should be less than or equal to 100"),
        ("/top-content?limit=ten", 422, "limit: input should be a valid integer"),
        ("/content/42/stats", 422, "content_id: must be a UUID"),
        ("/content/00000000-0000-4000-8000-000000000000/stats", 404, "No event of content 00000000"),
        ("/content/00000000-0000-4000-8000-000000000000/recent", 404, "No event of content 00000000"),
        ("/content/00000000-0000-4000-8000-000000000000/recent?count=0", 422, "count"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(api: httpx.Client, path: str, status: int, says: str) -> None:
    """Always the same two sentences."""
    answer = api.get(path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "remedy"}
    assert says in answer.json()["error"]
    assert answer.json()["remedy"]


def test_redis_away_is_a_sentence_and_a_time_to_come_back(redis_settings: RedisSettings) -> None:
    """503 with Retry-After, never a stack trace and never an endless wait; no secret in any answer."""
    secret = "h1dden-s3cret"
    redis = RedisSettings(url=SecretStr(f"redis://user:{secret}@127.0.0.1:{free_port()}"))
    port = free_port()
    settings = settings_with(
        redis=redis,
        kafka=KafkaSettings(exactly_once=False, sasl_password=SecretStr(secret)),
        api=ApiSettings(stage_endpoints=f"redis=http://user:{secret}@127.0.0.1:{port}"),
    )

    async def run(stop: asyncio.Event, listener: socket.socket) -> None:
        await serve(settings, stop, listener)

    with api_server(run, ApiSettings.model_construct(host="127.0.0.1", port=0)) as api:
        for path in ("/top-content", "/content/00000000-0000-4000-8000-000000000000/stats"):
            answer = api.get(path)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert set(answer.json()) == {"error", "remedy"}
        health = api.get("/health")
        assert health.status_code == 503
        assert health.json()["dependencies"]["redis"]["reachable"] is False
        assert health.json()["guarantees"] == {"redis": "at least once"}
        paths = ("/health", "/metrics", "/metrics/prometheus", "/top-content", "/openapi.json", "/", "/nowhere")
        assert not [path for path in paths if secret in api.get(path).text]


def test_the_process_ends_quietly_on_sigterm(redis_url: str, tmp_path: Path) -> None:
    """As the supervisor runs it: one line at its start, no access log, exit code 0 while a client stays connected."""
    port = free_port()
    environment = {**os.environ, "REDIS_URL": redis_url, "API_PORT": str(port), "LOG_FORMAT": "json"}
    log = tmp_path / "api.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "engagement_stream.cli", "api"], env=environment, stdout=output, stderr=output
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        try:
            wait_until(lambda: _status(client, "/health/ready") == 200, 20, "the API is ready")
            assert client.get("/top-content").status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
    lines = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert lines == ["api listens"]


def test_a_taken_port_is_one_clear_sentence(api: httpx.Client) -> None:
    """Which address, and which variable to change."""
    environment = {**os.environ, "API_PORT": str(api.base_url.port)}
    done = subprocess.run(
        [sys.executable, "-m", "engagement_stream.cli", "api"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{api.base_url.port}" in done.stderr
    assert "API_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def _status(client: httpx.Client, path: str) -> int | None:
    try:
        return client.get(path).status_code
    except httpx.HTTPError:
        return None

"""The live stream: one snapshot for all who listen, bounded, and over when the API ends; and `engagement top` on it."""

import asyncio
import json
import os
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engagement_stream.api.live.hub import HEARTBEAT_S, Hub
from engagement_stream.api.server import serve
from engagement_stream.pipeline.lock import exclusive
from engagement_stream.settings import ApiSettings, RedisSettings
from engagement_stream.stack.ports import free_port
from tests.fixtures.api_server import api_server, settings_with
from tests.fixtures.stage_process import StageProcess
from tests.fixtures.waiting import wait_until

LOOPBACK = ApiSettings.model_construct(host="127.0.0.1", port=0)
TOP = [sys.executable, "-m", "engagement_stream.cli", "top"]


@pytest.fixture(scope="module")
def stage() -> Iterator[StageProcess]:
    """One that can be told what to say."""
    with StageProcess("redis", free_port()) as process:
        yield process


@pytest.fixture
def api(stage: StageProcess, redis_settings: RedisSettings) -> Iterator[httpx.Client]:
    """The API over it, as `engagement api` serves it."""
    stage.tell("running")
    stage.tell("detail", lag_records=0)
    settings = settings_with(redis=redis_settings, api=ApiSettings(stage_endpoints=f"redis={stage.url}"))

    async def run(stop: asyncio.Event, listener: socket.socket) -> None:
        await serve(settings, stop, listener)

    with api_server(run, LOOPBACK) as client:
        yield client


def test_every_second_brings_a_snapshot(api: httpx.Client, stage: StageProcess) -> None:
    """Server-sent events, each the whole moment; what a stage made durable shows as a rate."""
    with api.stream("GET", "/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: "))
        first = json.loads(next(lines))
        stage.tell("progress", 50)
        stage.tell("durable", 50, [time.time_ns() // 1_000] * 50)
        second = next(s for s in map(json.loads, lines) if s["stages"][0]["records"] > first["stages"][0]["records"])
    redis = second["stages"][0]
    assert second["at"] > first["at"]
    assert second["status"] == "ok"
    assert second["troubles"] == []
    assert redis["records_per_s"] > 0
    assert redis["latency"]["count"] >= 50
    assert (redis["promise_s"], redis["guarantee"]) == (0.1, "exactly once")


def test_a_promise_is_broken_only_when_it_stays_so(api: httpx.Client, stage: StageProcess) -> None:
    """One slow batch shows in its figure and is no trouble yet."""
    api.get("/live/snapshot")
    stage.tell("durable", 50, [time.time_ns() // 1_000 - 5_000_000] * 50)

    def slow() -> bool:
        latency = api.get("/live/snapshot").json()["stages"][0]["latency"]
        return latency is not None and latency["p99_s"] > 1

    wait_until(slow, 10, "the slow batch to show")
    assert api.get("/live/snapshot").json()["troubles"] == []


def _hub(made: list[int], max_clients: int = 64) -> Hub:
    async def make() -> bytes:
        made.append(1)
        return b"%d" % len(made)

    return Hub(make, every_s=0.02, max_clients=max_clients)


def test_all_clients_share_one_snapshot_and_nobody_costs_nothing() -> None:
    """Made once a turn, however many listen; not at all when the last has gone."""
    made: list[int] = []

    async def run() -> None:
        hub = _hub(made)
        streams = [hub.stream() for _ in range(20)]
        for _ in range(3):  # the retry hint, then two snapshots
            frames = [await anext(stream) for stream in streams]
        assert len(set(frames)) <= 2
        assert frames[0].startswith(b"event: snapshot\ndata: ")
        assert len(made) < 20
        assert hub.clients == 20
        for stream in streams:
            await stream.aclose()
        assert hub.clients == 0
        before = len(made)
        await asyncio.sleep(0.1)
        assert len(made) == before

    asyncio.run(run())


def test_clients_are_bounded_and_an_end_ends_them_all() -> None:
    """A full hub says so; a closed one takes nobody."""
    made: list[int] = []

    async def run() -> None:
        hub = _hub(made, max_clients=2)
        streams = [hub.stream(), hub.stream()]
        for stream in streams:
            await anext(stream)
        assert hub.full
        hub.close()
        for stream in streams:
            async with asyncio.timeout(5):
                async for _ in stream:
                    pass
        assert hub.clients == 0
        assert hub.full

    asyncio.run(run())


def test_a_line_without_news_is_kept_alive() -> None:
    """A snapshot that takes long must not look like a dead connection."""

    async def run() -> None:
        async def never() -> bytes:
            await asyncio.sleep(3600)
            return b""

        stream = Hub(never).stream()
        await anext(stream)
        async with asyncio.timeout(HEARTBEAT_S * 4):
            assert (await anext(stream)).startswith(b":")
        await stream.aclose()

    asyncio.run(run())


def test_top_without_a_terminal_is_one_plain_line(api: httpx.Client) -> None:
    """For logs and scripts."""
    done = subprocess.run([*TOP, "--url", str(api.base_url)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "ok: Redis running" in line
    assert line.endswith("all is well")


def test_status_as_json_is_the_whole_health_and_what_runs(api: httpx.Client, tmp_path: Path) -> None:
    """For programs: one object whatever the state, and an exit code that says the same."""
    command = [sys.executable, "-m", "engagement_stream.cli", "status", "--json", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, json.loads(done.stdout)) == (3, {"running": False})
    with exclusive(tmp_path, "up") as announcement:
        announcement.make("up", {"API_PORT": str(api.base_url.port)})
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        body = json.loads(done.stdout)
        assert done.returncode == 0
        assert api.get("/health").json().keys() <= body.keys()
        assert (body["running"], body["status"], body["servers"]) == (True, "ok", [])
        assert body["stages"]["redis"]["state"] == "running"
        announcement.make("up", {"API_PORT": str(free_port())})
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, json.loads(done.stdout)["status"]) == (1, "down")


def test_top_of_nothing_says_what_to_do(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing runs in this directory; nothing listens at that address."""
    empty = tmp_path_factory.mktemp("nothing")
    for options in (["--data-dir", str(empty)], ["--url", f"http://127.0.0.1:{free_port()}"]):
        done = subprocess.run([*TOP, *options], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert done.stderr.startswith("engagement: ")
        assert "Traceback" not in done.stderr


def test_top_in_a_terminal_draws_until_told_to_stop(api: httpx.Client, stage: StageProcess) -> None:
    """Stages, what is wrong and its remedy; it ends quietly."""
    stage.tell("halted", "the fence is gone", "run `engagement rebuild`")
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*TOP, "--url", str(api.base_url)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )
        screen = bytearray()

        def drawn() -> bool:
            while select.select([ours], [], [], 0)[0]:
                screen.extend(os.read(ours, 65_536))
            return b"run `engagement rebuild`" in screen and b"halted" in screen and b"promise" in screen

        wait_until(drawn, 30, "the view to be drawn")
        process.terminate()
        assert process.wait(15) == 0
    finally:
        os.close(theirs)
        os.close(ours)
        stage.tell("running")

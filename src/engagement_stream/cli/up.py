"""`engagement up | down`: the whole system on this machine, with one command."""

import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from engagement_stream.cli.first_copy import CopyDisplay
from engagement_stream.cli.options import DEFAULT_DATA_DIR, DataDir
from engagement_stream.cli.preparation import preparation_display
from engagement_stream.cli.stream import log_dir, stop_signal
from engagement_stream.errors import ConfigurationError
from engagement_stream.pipeline.lock import exclusive, running
from engagement_stream.pipeline.programs import api_program, generator_program, stage_programs, verify_program
from engagement_stream.pipeline.supervisor import Program, Supervisor
from engagement_stream.settings import Settings

_READY_WITHIN_S = 60.0
_ADDRESSES = (
    "DATABASE_URL",
    "KAFKA_BOOTSTRAP_SERVERS",
    "REDIS_URL",
    "BIGQUERY_REST_ENDPOINT",
    "EXTERNAL_API_URL",
)
_console = Console(highlight=False)


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    generator: Annotated[bool, typer.Option(help="Write believable traffic into the database.")] = True,
    rate: Annotated[float, typer.Option(help="Events per second of that traffic.", min=0.1)] = 20.0,
) -> None:
    """Start the servers that are not configured elsewhere, the stages, the API and the generator; Ctrl-C stops all."""
    from engagement_stream.cli.live_view import watch_live
    from engagement_stream.stack.receiver import ReceiverServer
    from engagement_stream.stack.world import World

    started_s = time.monotonic()
    stop = stop_signal()
    settings = Settings.load()
    with exclusive(data_dir, "up") as announcement:
        logs = log_dir(data_dir)
        world = World(data_dir, settings=settings)
        if settings.http.url is None:
            world.add(ReceiverServer(world.data_dir / "receiver", world.port("receiver", 8090)))
        with preparation_display(_console) as report:
            world.up(report)
        try:
            environment = world.environment()
            fixed = "port" in settings.api.model_fields_set  # by the environment: taken as it is
            port = settings.api.port if fixed else world.port("api", settings.api.port)
            environment["API_PORT"] = str(port)
            announcement.make("up", environment)
            os.environ.update(environment)
            supervisor = Supervisor(
                _programs(Settings.load(), data_dir, environment, rate if generator else None), _console.print
            )
            supervisor.start()
            watcher = threading.Thread(target=supervisor.watch, args=(stop,), name="supervisor")
            watcher.start()
            for note in world.notes:
                _console.print(f"note: {note}")
            _tell_when_ready(port, started_s, stop)
            _tell_where(port, environment, logs)
            first_copy = CopyDisplay(_console, port)
            while watcher.is_alive() and first_copy.look():
                watcher.join(1.0)
            watch_live(_console, port, watcher)
            _console.print("draining the stages ...")
            supervisor.stop()
        finally:
            _console.print("stopping the servers ...")
            world.stop()
    _console.print("stopped; the data stays in " + str(data_dir))


def _programs(
    settings: Settings, data_dir: Path, environment: Mapping[str, str], rate_per_s: float | None
) -> list[Program]:
    logs = log_dir(data_dir)
    ledger, its_endpoint = verify_program(settings, data_dir, logs, environment)
    stages, endpoints = stage_programs(settings, logs, environment)
    traffic = [generator_program(logs, environment, rate_per_s)] if rate_per_s else []
    return [*traffic, *ledger, *stages, api_program(logs, environment, endpoints + its_endpoint)]


def _tell_when_ready(port: int, started_s: float, stop: threading.Event) -> None:
    """Wait until every stage is running; say what still waits when that takes too long."""
    deadline_s = time.monotonic() + _READY_WITHIN_S
    answer: httpx.Response | None = None
    with _console.status("starting the stages ..."):
        while time.monotonic() < deadline_s and not stop.wait(0.2):
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/health", timeout=3.0)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                _console.print(f"[green]ready[/green] after {time.monotonic() - started_s:.1f} s")
                return
    if not stop.is_set():
        _console.print(f"[yellow]not every stage is running yet[/yellow]: see http://localhost:{port}/health")


def _tell_where(port: int, environment: Mapping[str, str], logs: Path) -> None:
    lines = [
        ("what is hot", f"curl http://localhost:{port}/top-content"),
        ("how it goes", f"curl http://localhost:{port}/health"),
        ("in a browser", f"http://localhost:{port}/"),
        ("metrics", f"http://localhost:{port}/metrics/prometheus"),
        *((name, environment[name]) for name in _ADDRESSES if name in environment),
        ("logs", str(logs)),
    ]
    for name, value in lines:
        _console.print(f"  {name:<26}{value}", soft_wrap=True)
    if not _console.is_terminal:  # there the live view says it
        _console.print("Ctrl-C drains and stops everything.")


def down(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    wipe: Annotated[bool, typer.Option("--wipe", help="Also remove all data of the embedded servers.")] = False,
) -> None:
    """Stop a running `engagement up`; with --wipe also remove its data."""
    import psutil

    holder = running(data_dir)
    if holder is None:
        print("nothing runs here")
    else:
        process = psutil.Process(int(str(holder["pid"])))
        process.terminate()
        with _console.status("draining and stopping ..."):
            try:
                process.wait(120)
            except psutil.TimeoutExpired as error:
                raise ConfigurationError(
                    f"process {process.pid} still drains after two minutes; see its log"
                ) from error
        print("stopped")
    if wipe:
        from engagement_stream.stack.world import wipe as wipe_world

        wipe_world(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)
        print(f"removed {data_dir}")

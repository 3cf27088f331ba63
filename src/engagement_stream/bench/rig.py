"""A world of its own to measure in: the embedded servers in a fresh directory, stages started one by one."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from engagement_stream.errors import ConfigurationError
from engagement_stream.observe.status import StatusReport, decode_report
from engagement_stream.pipeline.process import SUPERVISED
from engagement_stream.pipeline.programs import free_port
from engagement_stream.settings import Settings
from engagement_stream.stack.receiver import ReceiverServer
from engagement_stream.stack.world import World

_STOP_WITHIN_S = 30.0


class StageProcess:
    """A running stage: what it did (its metrics) and what it cost (its CPU time)."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._process = run_engagement(["stage", name], {**environment, "STAGE_STATUS_PORT": str(port)}, log)
        self._usage = psutil.Process(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id; `url` is where its status server answers."""
        return self._process.pid

    def status(self) -> StatusReport | None:
        """Its own report; None while it does not answer."""
        try:
            return decode_report(httpx.get(f"{self.url}/status", timeout=2.0).content)
        except httpx.HTTPError:
            return None

    def is_running(self) -> bool:
        """Whether it says so."""
        report = self.status()
        return report is not None and report.state == "running"

    def records(self) -> int:
        """Records that are durable behind it, since it started."""
        report = self.status()
        return report.records if report else 0

    def cpu_s(self) -> float:
        """User and system time so far."""
        times = self._usage.cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(self._usage.memory_info().rss)

    def latency_buckets(self) -> dict[float, float]:
        """Upper edge in seconds -> cumulative count of commit_to_durable."""
        text = httpx.get(f"{self.url}/metrics", timeout=5.0).text
        return {
            float(sample.labels["le"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "engagement_commit_to_durable_seconds_bucket" and sample.labels["stage"] == self.name
        }

    def stop(self) -> None:
        """Drain and end."""
        stop_process(self._process)


class Rig:
    """The servers, and the settings that point to them. Use as a context manager."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._directory = Path(tempfile.mkdtemp(prefix="engagement-bench-"))
        self._directory.chmod(0o711)  # PostgreSQL's own user passes through where we are root
        self._stages: list[StageProcess] = []

    def __enter__(self) -> Self:
        self._tell("starting the embedded servers ...")
        self._world = World(self._directory / "data")
        self._world.add(ReceiverServer(self._world.data_dir / "receiver", self._world.port("receiver", 8090)))
        try:
            self._world.up()
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        self.environment = {**self._world.environment(), "LOG_FORMAT": "json"}
        self._environ = dict(os.environ)
        os.environ.update(self.environment)
        self.settings = Settings.load()
        return self

    def __exit__(self, *_: object) -> None:
        for stage in self._stages:
            stage.stop()
        self._world.stop()
        # Or the next world would take these servers, by then gone, for ones that its user runs.
        os.environ.clear()
        os.environ.update(self._environ)
        shutil.rmtree(self._directory, ignore_errors=True)

    @contextmanager
    def stages(self, *names: str, **environment: str) -> Iterator[dict[str, StageProcess]]:
        """Run these stages, with these variables besides; returns when all of them are running."""
        logs = self._directory / "logs"
        logs.mkdir(exist_ok=True)
        variables = {**self.environment, **environment}
        started = {name: StageProcess(name, variables, logs / f"{name}.log") for name in names}
        self._stages += started.values()
        try:
            for stage in started.values():
                wait_for(stage.is_running, 60.0, f"{stage.name} to run")
            yield started
        finally:
            for stage in started.values():
                stage.stop()
                self._stages.remove(stage)

    def run(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Any command of ours against these servers."""
        return run_engagement([*arguments], {**self.environment, **environment}, self._directory / "commands.log")

    @property
    def data_dir(self) -> Path:
        """Where the servers keep their data."""
        return self._world.data_dir

    def generate(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """The traffic generator as a process."""
        return run_engagement(["generate", *arguments], self.environment, self._directory / "generator.log")

    def backfill(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """`engagement backfill` as a process."""
        return run_engagement(["backfill", *arguments], self.environment, self._directory / "backfill.log")

    def server_pid(self, name: str) -> int:
        """Process id of a server, `kafka` for one."""
        pid = self._world.parts[name].pid
        assert pid is not None, f"{name} does not run"
        return pid

    def servers_cpu_s(self) -> dict[str, float]:
        """CPU time of each server so far, with its child processes, ended ones too; BigQuery's stands as `emulator`."""
        found = {}
        for part in self._world.parts.values():
            family = [psutil.Process(part.pid), *psutil.Process(part.pid).children(recursive=True)] if part.pid else []
            name = "emulator" if part.name == "bigquery" else part.name  # the stage has the other name
            found[name] = sum(sum(member.cpu_times()[:4]) for member in family)  # own, and of children that ended
        return found


def run_engagement(arguments: list[str], environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """The `engagement` command as a child process, its output in a file."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "engagement_stream.cli", *arguments],
            env={**os.environ, **environment, SUPERVISED: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def stop_process(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, then SIGKILL; the process is gone afterwards."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], object], timeout_s: float, what: str, every_s: float = 0.05) -> None:
    """Poll until the condition is true; raises ConfigurationError when it does not become so."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise ConfigurationError(
                f"waited {timeout_s:.0f} s for {what}: the machine is too busy, or something is wrong"
            )
        time.sleep(every_s)

"""The mission's commands as child processes, and what they are doing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from engagement_stream.pipeline.lock import running
from engagement_stream.stack.ports import free_port
from tests.fixtures.waiting import wait_until

ROOT = Path(__file__).parents[2]
STAGES = ("capture", "enrich", "redis", "bigquery", "http")


def run(*arguments: str, environment: Mapping[str, str], timeout_s: float = 120.0) -> str:
    """`python -m ...` from the checkout; fails the test when the command fails, with what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Pipeline:
    """A running `engagement up` (or another command that supervises the stages)."""

    def __init__(self, process: "subprocess.Popen[bytes]", api_port: int, log: Path) -> None:
        self.process = process
        self.api_port = api_port
        self.log = log

    def health(self) -> dict[str, dict[str, dict[str, object]]]:
        """The answer of /health, healthy or not."""
        answer = httpx.get(f"http://127.0.0.1:{self.api_port}/health", timeout=5.0)
        return json.loads(answer.content)  # type: ignore[no-any-return]  # JSON

    def healthy(self) -> bool:
        """Whether /health says 200; False also while nobody answers."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.api_port}/health", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def stage_pid(self, name: str) -> int | None:
        """Process id of a stage now; None between its death and its restart."""
        for child in psutil.Process(self.process.pid).children():
            try:
                if child.cmdline()[-2:] == ["stage", name]:
                    return child.pid
            except (psutil.Error, IndexError):
                continue
        return None

    def family(self) -> list[psutil.Process]:
        """The process and everything below it."""
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def interrupt(self, timeout_s: float = 90.0) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout_s)


@contextmanager
def started(*arguments: str, environment: Mapping[str, str], log: Path) -> Iterator[Pipeline]:
    """Run a supervising command until the end of the block; it is killed with all its children if still there."""
    api_port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, "API_PORT": str(api_port), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    pipeline = Pipeline(process, api_port, log)
    try:
        wait_until(pipeline.healthy, 90.0, "every stage to run")
        yield pipeline
    finally:
        if process.poll() is None:
            family = pipeline.family()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60.0)
            except subprocess.TimeoutExpired:
                for member in reversed(family):
                    member.kill()
                process.wait()


def announced(data_dir: Path) -> dict[str, str]:
    """The environment by which the running pipeline's servers are reached."""
    holder = running(data_dir)
    assert holder is not None, "nothing runs there"
    environment = holder["environment"]
    assert isinstance(environment, dict)
    return {str(name): str(value) for name, value in environment.items()}


def all_gone(family: list[psutil.Process], timeout_s: float = 10.0) -> list[psutil.Process]:
    """Those of the family that are still alive after a while (zombies of the test's own excepted)."""
    deadline_s = time.monotonic() + timeout_s
    left = family
    while left and time.monotonic() < deadline_s:
        left = [member for member in left if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
        time.sleep(0.05)
    return left

"""Keeps a set of processes running: restarts with back-off, stops in the order of the flow.

Children get a session of their own, so the terminal's Ctrl-C reaches only the supervisor and the stages drain in
order instead of all at once.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engagement_stream.backoff import Backoff
from engagement_stream.pipeline.process import EXIT_FENCED, SUPERVISED

_WATCH_EVERY_S = 0.25
_HEALTHY_AFTER_S = 30.0
_FENCED_WAIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: a name, arguments for this Python's `engagement` command, extra environment."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    log_file: Path | None = None
    restart: bool = True


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    failures: int = 0
    restart_at_s: float = 0.0


class Supervisor:
    """`start`, then `watch` until told to stop, then `stop`. Events are told to `tell` in plain sentences."""

    def __init__(self, programs: Sequence[Program], tell: Callable[[str], None]) -> None:
        self._children = [_Child(program) for program in programs]
        self._tell = tell
        self._backoff = Backoff(base_s=0.5, cap_s=30.0)

    def start(self) -> None:
        """Start everything that is not running."""
        for child in self._children:
            self._start(child)

    def watch(self, stop: threading.Event) -> None:
        """Restart what dies, until `stop` is set."""
        while not stop.wait(_WATCH_EVERY_S):
            for child in self._children:
                self._look_after(child)

    def stop(self, grace_s: float = 20.0) -> None:
        """Drain one after the other in the order given (the flow's), then kill what does not end."""
        for child in self._children:
            if child.process is None or child.process.poll() is not None:
                continue
            child.process.send_signal(signal.SIGTERM)
            try:
                child.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._tell(f"{child.program.name} does not end by itself after {grace_s:.0f} s: killed")
                child.process.kill()
                child.process.wait()

    def pids(self) -> dict[str, int]:
        """Name -> pid of what runs now."""
        return {
            child.program.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def _start(self, child: _Child) -> None:
        program = child.program
        log = program.log_file.open("ab") if program.log_file else None
        try:
            child.process = subprocess.Popen(
                [sys.executable, "-m", "engagement_stream.cli", *program.arguments],
                env={**os.environ, **program.environment, SUPERVISED: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            if log is not None:
                log.close()
        child.started_s = time.monotonic()

    def _look_after(self, child: _Child) -> None:
        now_s = time.monotonic()
        process = child.process
        if process is not None:
            code = process.poll()
            if code is None:
                if child.failures and now_s - child.started_s > _HEALTHY_AFTER_S:
                    child.failures = 0
                return
            child.process = None
            if code == 0 and not child.program.restart:
                child.restart_at_s = float("inf")
                return
            wait_s = _FENCED_WAIT_S if code == EXIT_FENCED else self._backoff.wait_s(child.failures, random.random())  # noqa: S311 - jitter
            child.failures += 1
            child.restart_at_s = now_s + wait_s
            self._tell(f"{child.program.name} ended ({_cause(code)}), starts again in {wait_s:.1f} s")
        elif now_s >= child.restart_at_s:
            self._start(child)


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"

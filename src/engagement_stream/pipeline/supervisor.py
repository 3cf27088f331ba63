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
    """false: its end is its own affair."""
    directory: Path | None = None
    """Where it runs; a `.env` that lies there is read."""


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    failures: int = 0
    restart_at_s: float = 0.0


class Supervisor:
    """`start`, then `watch` until told to stop, then `stop`. Events are told to `tell` in plain sentences.

    Programs may come, go and change meanwhile, from any thread. It is the watching thread that starts them: Linux ends
    a stage when the thread that started it ends.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        tell: Callable[[str], None],
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._children = [_Child(program) for program in programs]
        self._tell = tell
        self._backoff = backoff or Backoff(base_s=0.5, cap_s=30.0)
        self._lock = threading.RLock()

    def start(self) -> None:
        """Start everything that is not running."""
        with self._lock:
            for child in self._children:
                self._start(child)

    def watch(self, stop: threading.Event) -> None:
        """Restart what dies, until `stop` is set."""
        while not stop.wait(_WATCH_EVERY_S):
            with self._lock:
                for child in self._children:
                    self._look_after(child)

    def stop(self, grace_s: float = 20.0) -> None:
        """Drain one after the other in the order given (the flow's), then kill what does not end."""
        for child in list(self._children):
            self._drain(child, grace_s)

    def add(self, program: Program) -> None:
        """Start one more, soon, and look after it too."""
        with self._lock:
            self._children.append(_Child(program))

    def remove(self, name: str, grace_s: float = 20.0) -> None:
        """Drain it and forget it."""
        with self._lock:
            child = self._child(name)
            self._children.remove(child)
        self._drain(child, grace_s)

    def replace(self, program: Program) -> None:
        """From its next start on the program of this name is this one."""
        with self._lock:
            self._child(program.name).program = program

    def succeed(self, program: Program) -> "subprocess.Popen[bytes] | None":
        """Start this one, soon, in the place of the program of its name, whose process is left to itself and returned.

        As when a host cannot be reached: whoever was there may still live and come back.
        """
        with self._lock:
            child = self._child(program.name)
            former, child.process, child.program, child.restart_at_s = child.process, None, program, 0.0
        return former

    def pids(self) -> dict[str, int]:
        """Name -> pid of what runs now."""
        with self._lock:
            return {
                child.program.name: child.process.pid
                for child in self._children
                if child.process is not None and child.process.poll() is None
            }

    def _child(self, name: str) -> _Child:
        return next(child for child in self._children if child.program.name == name)

    def _drain(self, child: _Child, grace_s: float) -> None:
        if child.process is None or child.process.poll() is not None:
            return
        child.process.send_signal(signal.SIGTERM)
        try:
            child.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._tell(f"{child.program.name} does not end by itself after {grace_s:.0f} s: killed")
            child.process.kill()
            child.process.wait()

    def _start(self, child: _Child) -> None:
        program = child.program
        log = program.log_file.open("ab") if program.log_file else None
        try:
            child.process = subprocess.Popen(
                [sys.executable, "-m", "engagement_stream.cli", *program.arguments],
                env={**os.environ, **program.environment, SUPERVISED: str(os.getpid())},
                cwd=program.directory,
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
            if not child.program.restart:
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

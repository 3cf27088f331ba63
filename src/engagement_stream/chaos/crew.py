"""The stages of a chaos run: real processes under the real supervisor, and those it no longer looks after."""

import contextlib
import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from engagement_stream.backoff import Backoff
from engagement_stream.chaos.kinds import STAGES
from engagement_stream.observe.status import StatusReport, decode_report
from engagement_stream.pipeline.programs import free_port
from engagement_stream.pipeline.supervisor import Program, Supervisor

GENERATOR = "generator"
MOST_WORKERS = 3
_UNEXPECTED = '"event": "stage ended unexpectedly"'
_STATUS_WITHIN_S = 2.0
_FIRST_DEATH_WITHIN_S = 60.0
_AFTER_A_KILL = Backoff(base_s=0.2, cap_s=2.0)
"""Shorter than in production: who is killed every few seconds on purpose would wait for half a minute."""


@dataclass(slots=True)
class Stray:
    """A frozen process that has a successor. Woken, it has to notice by itself and end."""

    stage: str
    process: "subprocess.Popen[bytes]"


def named(stage: str, worker: int = 0) -> str:
    """The program's name of a stage's worker."""
    return stage if worker == 0 else f"{stage}-{worker}"


class Crew:
    """Starts, kills, freezes and multiplies the stages. Thread-safe; one fault at a time holds a stage's lock."""

    def __init__(self, environment: Mapping[str, str], directory: Path, tell: Callable[[str], None]) -> None:
        self._environment, self._directory = dict(environment), directory
        self._logs = directory / "logs"
        self._logs.mkdir(exist_ok=True)
        self._supervisor = Supervisor([], tell, backoff=_AFTER_A_KILL)
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._supervisor.watch, args=(self._ending,), name="supervisor")
        self._urls: dict[str, str] = {}
        self._programs: dict[str, Program] = {}
        self.locks = {stage: threading.Lock() for stage in STAGES}
        self._strays: list[Stray] = []
        self._twins: dict[str, str] = {}
        self._serial = itertools.count(1)

    def start(self, first_crash: str = "") -> None:
        """Every stage; capture's first process dies at `first_crash`, if one is named, the later ones live."""
        self._watcher.start()
        for stage in STAGES:
            self.enlist(stage, first_crash if stage == "capture" else "")
        if first_crash:
            self._until_dead("capture")
            self.disarm("capture")

    def enlist(self, stage: str, crash_at: str = "") -> None:
        """Start a stage that does not run."""
        program = self._enlist(stage, stage)
        self._supervisor.add(_armed(program, crash_at, 1) if crash_at else program)

    def retire(self, stage: str) -> None:
        """Stop a stage in good order, for now."""
        del self._programs[stage]
        self._supervisor.remove(stage)

    def _until_dead(self, name: str) -> None:
        """The first process of that name has come and gone; bounded, since what comes next shows it anyway."""
        deadline_s = time.monotonic() + _FIRST_DEATH_WITHIN_S
        first = None
        while time.monotonic() < deadline_s and not self._ending.wait(0.05):
            pid = self.pid(name)
            first = first or pid
            if first is not None and pid != first:
                return

    def flowing(self) -> bool:
        """Every stage runs, and capture has a slot and reads it: what is committed from now on comes by the stream."""
        reports = self.statuses()
        capture = reports.get("capture")
        streaming = capture is not None and capture.details.get("phase") == "streaming"
        return streaming and len(reports) == len(STAGES) and all(r.state == "running" for r in reports.values())

    def generate(self, rate_per_s: float, seed: int, edits_per_min: float, database_url: str) -> None:
        """Open-loop load, straight into the source."""
        arguments = ["generate", "continuous", "--rate", f"{rate_per_s:g}", "--seed", str(seed)]
        environment = {**self._environment, "DATABASE_URL": database_url}
        log = self._logs / f"{GENERATOR}.log"
        self._supervisor.add(
            Program(
                GENERATOR,
                [*arguments, "--content-changes", f"{edits_per_min:g}"],
                environment,
                log,
                directory=self._directory,
            )
        )

    def stop_generating(self) -> None:
        with contextlib.suppress(StopIteration):
            self._supervisor.remove(GENERATOR)

    def pid(self, name: str) -> int | None:
        """Who runs under that name now."""
        return self._supervisor.pids().get(name)

    def status(self, name: str) -> StatusReport | None:
        """The stage's own report; None while it does not answer."""
        try:
            return decode_report(httpx.get(f"{self._urls[name]}/status", timeout=_STATUS_WITHIN_S).content)
        except (httpx.HTTPError, KeyError):
            return None

    def statuses(self) -> dict[str, StatusReport]:
        """Name -> report of those that answer."""
        found = {name: self.status(name) for name in list(self._programs)}
        return {name: report for name, report in found.items() if report is not None}

    def signal(self, name: str, number: int) -> int | None:
        """Send it; returns the process's id, None if there is none now."""
        pid = self.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid

    def arm(self, stage: str, point: str, nth: int) -> None:
        """The next process of this stage dies at that step, as a kernel would kill it."""
        self._supervisor.replace(_armed(self._programs[stage], point, nth))

    def disarm(self, stage: str) -> None:
        self._supervisor.replace(self._programs[stage])

    def succeed(self, stage: str) -> Stray | None:
        """Start a successor and leave the present process to itself."""
        former = self._supervisor.succeed(self._enlist(stage, stage))
        if former is None:
            return None
        stray = Stray(stage, former)
        self._strays.append(stray)
        return stray

    def twin(self, stage: str) -> None:
        """A second process with the same worker number, whose end is its own affair."""
        twin = f"{stage}-twin{next(self._serial)}"
        self._supervisor.add(replace(self._program(twin, stage), restart=False))
        self._twins[twin] = stage

    def scale(self, stage: str, workers: int) -> None:
        """So many workers; those that go are stopped in good order, the last one first."""
        for worker in range(1, workers):
            if (name := named(stage, worker)) not in self._programs:
                self._supervisor.add(self._enlist(name, stage, worker))
        for worker in reversed(range(workers, MOST_WORKERS)):
            if self._programs.pop(name := named(stage, worker), None):
                self._supervisor.remove(name)

    def wake(self, stray: Stray) -> None:
        with contextlib.suppress(ProcessLookupError):
            stray.process.send_signal(signal.SIGCONT)

    def end_strays(self, within_s: float) -> list[str]:
        """Wait until they have noticed; returns what had to be killed, in words."""
        deadline_s = time.monotonic() + within_s
        wrong = []
        for stray in self._strays:
            self.wake(stray)
            try:
                stray.process.wait(max(deadline_s - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                stray.process.kill()
                stray.process.wait()
                wrong.append(f"a former process of {stray.stage} went on working beside its successor")
        for twin, stage in self._twins.items():
            while self.pid(twin) is not None and time.monotonic() < deadline_s:
                time.sleep(0.1)
            if self.pid(twin) is not None:
                wrong.append(f"a twin of {stage} went on working beside the other one")
            self._supervisor.remove(twin, grace_s=1.0)
        self._strays.clear()
        self._twins.clear()
        return wrong

    def stop(self) -> None:
        """Nothing of it is left."""
        for name in list(self._programs):
            self.signal(name, signal.SIGCONT)
        self.end_strays(0.5)
        self._ending.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        self._supervisor.stop()

    def unexpected_ends(self) -> dict[str, int]:
        """Stage -> how often its last line of defence caught something nobody had thought of."""
        found = {log.stem: log.read_text(errors="replace").count(_UNEXPECTED) for log in self._logs.glob("*.log")}
        return {name: count for name, count in sorted(found.items()) if count}

    def _program(self, name: str, stage: str, worker: int = 0) -> Program:
        port = free_port()
        environment = {**self._environment, "STAGE_STATUS_PORT": str(port), "STAGE_WORKER": str(worker)}
        log = self._logs / f"{name}.log"
        self._urls[name] = f"http://127.0.0.1:{port}"
        return Program(name, ["stage", stage], environment, log, directory=self._directory)

    def _enlist(self, name: str, stage: str, worker: int = 0) -> Program:
        self._programs[name] = program = self._program(name, stage, worker)
        return program


def _armed(program: Program, point: str, nth: int) -> Program:
    return replace(program, environment={**program.environment, "ENGAGEMENT_CRASH_AT": f"{point}:{nth}"})

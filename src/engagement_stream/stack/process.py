"""One server process: started in its own session, tied to our life, logged within bounds, stopped without leftovers.

Two things are easy to get wrong here. Linux sends the parent-death signal when the *thread* that started the
child ends, so every child is started by a thread that then waits for it. And a terminal's Ctrl-C goes to a whole
process group, so every child has its own: the supervisor decides the order in which things stop.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from engagement_stream.errors import ConfigurationError, Fatal

LOG_LIMIT_BYTES = 4_000_000
_LOG_CHECK_S = 30.0
_KILL_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Command:
    """What to run; `user` is (uid, gid) to run as, None for our own."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    user: tuple[int, int] | None = None
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    ports: tuple[int, ...] = ()


def base_environment() -> dict[str, str]:
    """What a server may know of our environment: no secrets, and nothing that changes how it behaves."""
    # LD_LIBRARY_PATH: our launcher is a Python, and there are Pythons that do not start without it
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"} | _kept(
        "PATH", "TMPDIR", "HOME", "TZ", "LD_LIBRARY_PATH"
    )


def python_environment() -> dict[str, str]:
    """The same for a server written in Python: it finds its packages where we found ours."""
    return base_environment() | _kept("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")


def _kept(*names: str) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


class ServerProcess:
    """A child that cannot outlive us; `log` and `record` are files it keeps beside its data."""

    def __init__(self, name: str, *, home: Path, log: Path, record: Path) -> None:
        self.name = name
        self.log = log
        self._home = home
        self._record = record
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._stop_signal: int = signal.SIGTERM

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._child.pid if self._child and not self._ended.is_set() else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def exit_code(self) -> int | None:
        """What it ended with; negative: the signal."""
        return self._child.returncode if self._child and self._ended.is_set() else None

    def start(self, command: Command) -> None:
        """Start it; raises ConfigurationError when another living process of ours serves the same data."""
        assert not self.running, f"{self.name} runs already"
        self.remove_leftover()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._ended.clear()
        self._child = None
        self._stop_signal = command.stop_signal
        started = threading.Event()
        failure: list[OSError] = []
        threading.Thread(
            target=self._live, args=(command, started, failure), name=f"stack-{self.name}", daemon=True
        ).start()
        started.wait()
        if failure:
            raise Fatal(
                f"{self.name} could not be started: {failure[0]}",
                remedy="Install the package again: pip install --force-reinstall 'engagement-stream[embedded]'.",
            ) from failure[0]

    def _live(self, command: Command, started: threading.Event, failure: list[OSError]) -> None:
        """The thread the child belongs to: it ends when the child has ended, never before."""
        try:
            self._child = self._spawn(command)
        except OSError as error:
            failure.append(error)
            self._ended.set()
            return
        finally:
            started.set()
        try:
            self._wait_and_bound_log(self._child)
        finally:
            self._ended.set()

    def _spawn(self, command: Command) -> subprocess.Popen[bytes]:
        bound_log(self.log, keep_bytes=LOG_LIMIT_BYTES // 4)
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py"))]
        user = f"{command.user[0]}:{command.user[1]}" if command.user else "-"
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [*launcher, str(os.getpid()), str(int(command.death_signal)), user, *command.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=command.cwd,
                env=dict(command.env),
                start_new_session=True,
            )
        self._write_record(child.pid, command.ports)
        return child

    def _write_record(self, pid: int, ports: tuple[int, ...]) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            me = psutil.Process()
            entry = {
                "pid": pid,
                "started": psutil.Process(pid).create_time(),
                "ports": ports,
                "owner": me.pid,
                "owner_started": me.create_time(),
            }
            fresh = self._record.with_suffix(".new")
            fresh.write_text(json.dumps(entry))
            fresh.replace(self._record)

    def _wait_and_bound_log(self, child: subprocess.Popen[bytes]) -> None:
        try:
            handle = os.pidfd_open(child.pid)
        except (OSError, AttributeError):  # an old kernel, or not Linux: the log is bounded at starts only
            child.wait()
            return
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            while not poll.poll(_LOG_CHECK_S * 1000):
                bound_log(self.log, keep_bytes=LOG_LIMIT_BYTES // 4)
        finally:
            os.close(handle)
        child.wait()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within that time."""
        return self._ended.wait(timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal to the server itself (SIGSTOP and SIGCONT too, for fault tests)."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, timeout_s: float) -> None:
        """Ask it to end; after `timeout_s` end it. Nothing of it is left when this returns."""
        pid = self.pid
        if pid is None:
            return
        family = _family(pid)
        self.signal(signal.SIGCONT)  # a frozen one would not hear us
        self.signal(self._stop_signal)
        if not self.wait(timeout_s):
            self._kill_all(family + _family(pid))
        else:
            self._kill_all(family)
        self._record.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL to the server and to every child it has."""
        if (pid := self.pid) is not None:
            self._kill_all(_family(pid))
            self._record.unlink(missing_ok=True)

    def _kill_all(self, family: Sequence[psutil.Process]) -> None:
        kill_processes(family)
        if not self.wait(_KILL_WAIT_S):
            raise Fatal(
                f"{self.name} (pid {self.pid}) does not die",
                remedy="It hangs in the kernel (a dead disk?): look at `dmesg`, then end it by hand.",
            )

    def tail(self, lines: int = 15) -> str:
        """The end of its log, for error messages."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 8000))
                text = log.read().decode(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:]) or "(its log is empty)"

    def remove_leftover(self) -> None:
        """End what an earlier, crashed run may have left; only what is verifiably ours."""
        try:
            entry = json.loads(self._record.read_text())
            owner = (int(entry["owner"]), float(entry["owner_started"]))
            server = (int(entry["pid"]), float(entry["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            return
        if (old := _alive(*server)) is not None:
            if owner[0] != os.getpid() and _alive(*owner) is not None:
                raise ConfigurationError(
                    f"{self.name} in {self._home} is already run by process {owner[0]}; "
                    "stop that one first (engagement down), or choose another data directory."
                )
            kill_processes(_family(old.pid))
        kill_processes(_with_cwd(self._home))
        self._record.unlink(missing_ok=True)


def server_process(name: str, home: Path) -> ServerProcess:
    """The process that serves the data in `home`; its log and its record lie beside that, not in it."""
    beside, stem = home.parent, home.name
    return ServerProcess(name, home=home, log=beside / "logs" / f"{stem}.log", record=beside / "run" / f"{stem}.json")


def kill_processes(family: Sequence[psutil.Process]) -> None:
    """SIGKILL, and wait until they are dead (psutil checks that a pid was not reused)."""
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + _KILL_WAIT_S
    while time.monotonic() < deadline and not all(_is_dead(process) for process in family):
        time.sleep(0.005)


def _is_dead(process: psutil.Process) -> bool:
    """Gone, or only waiting to be reaped (by our thread, or by whatever is init here and may be slow)."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _alive(pid: int, started: float) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        # create_time is the kernel's: equal means the same process, not a reused pid
        if abs(process.create_time() - started) < 0.05 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _with_cwd(home: Path) -> list[psutil.Process]:
    """Orphans of a server (PostgreSQL's backends rename themselves but stay in its data directory)."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(home) and process.pid != os.getpid():
                found.append(process)
    return found


def bound_log(log: Path, *, keep_bytes: int) -> None:
    """Keep the last part of a log that has grown too long (its writer appends, so this is safe under it)."""
    with contextlib.suppress(OSError):
        if log.stat().st_size <= LOG_LIMIT_BYTES:
            return
        with log.open("rb") as old:
            old.seek(-keep_bytes, os.SEEK_END)
            tail = old.read()
        os.truncate(log, 0)
        with log.open("ab") as fresh:
            fresh.write(tail)

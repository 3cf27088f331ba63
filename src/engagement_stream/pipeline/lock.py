"""One supervisor per data directory: a file lock that dies with its holder, and who holds it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from engagement_stream.errors import ConfigurationError

_NAME = "supervisor.json"


@contextmanager
def exclusive(data_dir: Path, what: str) -> Iterator["Announcement"]:
    """Hold the directory; raises ConfigurationError naming the process that already does."""
    run = data_dir / "run"
    run.mkdir(parents=True, exist_ok=True)
    with (run / _NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = running(data_dir)
            raise ConfigurationError(
                f"this pipeline already runs here (pid {holder['pid'] if holder else 'unknown'}): "
                "stop it with `engagement down`, or use another --data-dir."
            ) from None
        announcement = Announcement(run / _NAME)
        announcement.make(what, {})
        try:
            yield announcement
        finally:
            (run / _NAME).write_text("")


class Announcement:
    """What the holder tells other commands: its pid and how to reach what it runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self, what: str, environment: Mapping[str, str]) -> None:
        """Write it; the file is only ours to read, since addresses may hold passwords."""
        self._path.chmod(0o600)
        self._path.write_text(json.dumps({"pid": os.getpid(), "what": what, "environment": dict(environment)}))


def running(data_dir: Path) -> dict[str, object] | None:
    """The announcement of the living holder, None when nobody holds the directory."""
    path = data_dir / "run" / _NAME
    try:
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read()
                return json.loads(text) if text else None
            return None
    except FileNotFoundError:
        return None

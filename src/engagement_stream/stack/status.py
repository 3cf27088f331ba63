"""What the parts are doing: seen by their owner, or from another process by the records beside the data."""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part; `cpu_pct` is of one core, both figures with its child processes."""

    name: str
    running: bool
    pid: int | None
    ports: tuple[int, ...]
    cpu_pct: float = 0.0
    rss_bytes: int = 0


def measure(parts: Sequence[tuple[str, int | None, tuple[int, ...]]], interval_s: float) -> list[PartStatus]:
    """Look twice, `interval_s` apart."""
    before = [_cpu_s(pid) for _, pid, _ in parts]
    started = time.monotonic()
    if any(pid for _, pid, _ in parts):
        time.sleep(interval_s)
    elapsed_s = max(time.monotonic() - started, 1e-6)
    found = []
    for (name, pid, ports), spent_s in zip(parts, before, strict=True):
        family = _family(pid)
        cpu_pct = max(0.0, _cpu_s(pid) - spent_s) / elapsed_s * 100 if family else 0.0
        found.append(PartStatus(name, bool(family), pid if family else None, ports, cpu_pct, _memory(family)))
    return found


def status_of(data_dir: Path, interval_s: float = 0.2) -> list[PartStatus]:
    """The parts whose records lie in this directory, for a process that did not start them."""
    parts: list[tuple[str, int | None, tuple[int, ...]]] = []
    for record in sorted((data_dir / "run").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(record.read_text())
            pid = int(entry["pid"])
            alive = psutil.pid_exists(pid) and abs(psutil.Process(pid).create_time() - entry["started"]) < 0.05
            parts.append((record.stem, pid if alive else None, tuple(map(int, entry["ports"]))))
    return measure(parts, interval_s)


def _family(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        return []
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return []
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _cpu_s(pid: int | None) -> float:
    total = 0.0
    for process in _family(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _memory(family: Sequence[psutil.Process]) -> int:
    """PSS where the kernel tells it (PostgreSQL's processes share their buffers), else RSS."""
    total = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            info = process.memory_full_info()
            total += getattr(info, "pss", info.rss)
    return total

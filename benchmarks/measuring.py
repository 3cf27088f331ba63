"""Watches a contender from outside while it works off a backlog: the same look at everybody."""

import time
from collections.abc import Callable, Sequence
from statistics import median

import psutil

from benchmarks.contender import Contender, Figure
from engagement_stream.errors import ConfigurationError

_LIMIT_S = 600.0
_EVERY_S = 0.05


def measure(contender: Contender, backlog: int, broker_pid: int) -> Figure:
    """One run from start to stop. What it does while it starts and while it ends does not count."""
    contender.start()
    try:
        started_s = time.monotonic()
        first = _until(contender, backlog // 10, started_s)
        at_first = _costs(contender, broker_pid)
        last = _until(contender, backlog * 9 // 10, started_s)
        at_last = _costs(contender, broker_pid)
        rss_mb = sum(process.memory_info().rss for process in _processes(contender.pids())) / 1e6
    finally:
        contender.stop()
    records = last[1] - first[1]
    if records <= 0:
        raise ConfigurationError(f"{contender.name} did its work in one step: take a larger backlog")
    return Figure(
        contender.name,
        records / (last[0] - first[0]),
        (at_last[0] - at_first[0]) / records * 1e6,
        (at_last[1] - at_first[1]) / records * 1e6,
        rss_mb,
    )


def _until(contender: Contender, wanted: int, started_s: float) -> tuple[float, int]:
    """(time, records) of the first look that sees at least so many, and more than the look before."""
    while (done := contender.progress()) < wanted:
        if time.monotonic() - started_s > _LIMIT_S:
            raise ConfigurationError(f"{contender.name} has done {done:,} of {wanted:,} records after {_LIMIT_S:.0f} s")
        time.sleep(_EVERY_S)
    return time.monotonic(), done


def _costs(contender: Contender, broker_pid: int) -> tuple[float, float]:
    return _cpu_s(contender.pids()), _cpu_s([broker_pid])


def _cpu_s(pids: Sequence[int]) -> float:
    times = [process.cpu_times() for process in _processes(pids)]
    return float(sum(t.user + t.system for t in times))


def _processes(pids: Sequence[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        if psutil.pid_exists(pid):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    return found


def middle(figures: Sequence[Figure]) -> Figure:
    """Value by value the median of several runs."""

    def of(value: Callable[[Figure], float]) -> float:
        return median(value(figure) for figure in figures)

    return Figure(
        figures[0].name,
        of(lambda f: f.records_per_s),
        of(lambda f: f.cpu_us),
        of(lambda f: f.broker_cpu_us),
        of(lambda f: f.rss_mb),
    )

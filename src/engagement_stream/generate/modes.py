"""The three ways to run: for ever at a rate, so many events now, or so many past days."""

import gc
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

from engagement_stream.errors import ConfigurationError
from engagement_stream.generate.copy_format import encode
from engagement_stream.generate.editing import Editor
from engagement_stream.generate.population import DAY_US, catalogue
from engagement_stream.generate.report import Progress, Report, quiet
from engagement_stream.generate.rhythm import even, slots
from engagement_stream.generate.schedule import Schedule
from engagement_stream.generate.traffic import Traffic
from engagement_stream.generate.writer import Stopped, Writer

BLOCK_ROWS = 10_000
"""Rows per transaction at most: some 2 MB, and a tenth of a second."""
EVENTS_PER_DAY = 50_000
_TICK_S = 0.02  # so that 1,000 ev/s are 50 small transactions a second, not 1,000
_REPORT_EVERY_S = 1.0
_PATIENCE_S = 30.0
_FREEZE_GRACE_S = 5.0  # after `stop`, how long a call may still take on a server that does not answer
_BATCH_RATE_PER_S = 20.0


def continuous(
    database_url: str,
    rate_per_s: float,
    stop: threading.Event,
    progress: Progress = quiet,
    *,
    seed: int | None = None,
    content_changes_per_min: float = 1.0,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Write `rate_per_s` events per second until `stop` is set; returns what was written.

    Open loop: the schedule does not wait for the database. What could not be written in time is written later, in
    larger transactions, with the event time it was meant to have. An unreachable database is waited for.
    `content_changes_per_min` is how often an item is published or edited; 0 for never.
    """
    if not 0 < rate_per_s <= 1_000_000:
        raise ConfigurationError("the rate must be above 0 and at most 1,000,000 events per second")
    seed = secrets.randbits(63) if seed is None else seed
    began_s = time.monotonic()
    rows = changes = 0
    behind_s = 0.0

    def report(waiting_for: str = "") -> None:
        progress(Report(rows, None, time.monotonic() - began_s, behind_s, changes, waiting_for))

    writer = Writer(database_url, stop=stop, tell=report)
    with _rare_cycle_search(), _unfreezing(writer, stop):
        try:
            contents = writer.ensure(catalogue(_us(clock())))
            traffic = Traffic(contents, seed, rate_per_s=rate_per_s)
            editor = Editor(seed, content_changes_per_min)
            traffic.warm_up(_us(clock()))
            reported_s = began_s = time.monotonic()
            schedule = Schedule(rate_per_s, began_s)
            while not stop.wait(schedule.wait_s(time.monotonic(), _TICK_S)):
                now_s = time.monotonic()
                wall_us = _us(clock() - now_s)  # the wall's time of the monotonic clock's zero, now
                moments = [wall_us + at_us for at_us in schedule.take(now_s, BLOCK_ROWS)]
                change = editor.due(now_s, traffic.contents, wall_us + _us(now_s))
                writer.write(encode(traffic.events(moments)), new=change.new, edited=change.edited)
                if change.contents is not None:
                    traffic.replace(change.contents)
                    changes += 1
                rows += len(moments)
                now_s = time.monotonic()
                behind_s = schedule.behind_s(now_s)
                if now_s - reported_s >= _REPORT_EVERY_S:
                    reported_s = now_s
                    report()
        except Stopped:
            pass
        finally:
            writer.close()
    final = Report(rows, None, time.monotonic() - began_s, behind_s, changes)
    progress(final)
    return final


def batch(
    database_url: str,
    batch_size: int,
    progress: Progress = quiet,
    *,
    stop: threading.Event | None = None,
    seed: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Write exactly `batch_size` events of the last moments, in transactions of up to 10,000, and end."""
    if batch_size < 1:
        raise ConfigurationError("the batch size must be at least 1")
    end_us = _us(clock())
    start_us = end_us - min(600_000_000, _us(batch_size / _BATCH_RATE_PER_S))  # of the last ten minutes at most
    moments = even(start_us, end_us, batch_size)
    return _load(database_url, moments, batch_size, start_us, end_us, progress, stop, seed, not_before_us=0)


def historical(
    database_url: str,
    days: int,
    progress: Progress = quiet,
    *,
    events_per_day: int = EVENTS_PER_DAY,
    total_rows: int | None = None,
    stop: threading.Event | None = None,
    seed: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Write the last `days` days of traffic, up to now: days and nights, weekends, seasons, growth, new content.

    `total_rows`, if given, replaces `days * events_per_day`. A second run adds as many again: it is more traffic.
    """
    total = days * events_per_day if total_rows is None else total_rows
    if not 1 <= days <= 3650 or total < 1:
        raise ConfigurationError("historical traffic needs 1 to 3,650 days and at least one event")
    end_us = _us(clock())
    start_us = end_us - days * DAY_US
    moments = slots(start_us, end_us, total)
    return _load(database_url, moments, total, start_us, end_us, progress, stop, seed, not_before_us=start_us)


def _load(
    database_url: str,
    moments: Iterator[int],
    total: int,
    start_us: int,
    end_us: int,
    progress: Progress,
    stop: threading.Event | None,
    seed: int | None,
    *,
    not_before_us: int,
) -> Report:
    """As fast as it goes: while one block is being copied, the next one is made."""
    stop = stop or threading.Event()
    began_s = time.monotonic()
    rows = 0

    def report(waiting_for: str = "") -> None:
        progress(Report(rows, total, time.monotonic() - began_s, waiting_for=waiting_for))

    writer = Writer(database_url, stop=stop, patience_s=_PATIENCE_S, tell=report)
    with _rare_cycle_search(), _unfreezing(writer, stop), ThreadPoolExecutor(1, "copy") as copying:
        try:
            # Half as far back again: on the first of the days there is something to look at.
            oldest_days = (end_us - start_us) * 3 // (2 * DAY_US)
            contents = writer.ensure(catalogue(end_us, oldest_days=oldest_days))
            rate_per_s = total / max((end_us - start_us) / 1e6, 1.0)
            traffic = Traffic(
                contents,
                secrets.randbits(63) if seed is None else seed,
                rate_per_s=rate_per_s,
                not_before_us=not_before_us,
            )
            traffic.warm_up(start_us)
            under_way: Future[int] | None = None
            while not stop.is_set():
                events = traffic.events(islice(moments, BLOCK_ROWS))
                block = encode(events)
                if under_way is not None:
                    rows += under_way.result()
                    report()
                if not events:
                    break
                under_way = copying.submit(_write, writer, block, len(events))
            else:
                rows += under_way.result() if under_way is not None else 0
        except Stopped:
            pass
        finally:
            copying.shutdown()
            writer.close()
    return Report(rows, total, time.monotonic() - began_s)


def _write(writer: Writer, block: bytes, rows: int) -> int:
    writer.write(block)
    return rows


@contextmanager
def _unfreezing(writer: Writer, stop: threading.Event) -> Iterator[None]:
    """A server that accepts connections and never answers must not keep us from ending."""
    finished = threading.Event()

    def watch() -> None:
        while not finished.is_set():
            if stop.wait(0.5) and not finished.wait(_FREEZE_GRACE_S):
                writer.abandon()

    watcher = threading.Thread(target=watch, name="unfreezing", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join(2)


@contextmanager
def _rare_cycle_search() -> Iterator[None]:
    """Rows and sessions hold no cycles, and the collector's default zeal costs 3 of 7 us a row."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)

"""`engagement verify`: whether everything is everywhere, once, with the right values."""

import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Self

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from engagement_stream.cli.options import DEFAULT_DATA_DIR, DataDir, load_settings
from engagement_stream.errors import ConfigurationError

if TYPE_CHECKING:
    from engagement_stream.verify.report import Place, Report

_SHOW_PROGRESS_AFTER_S = 2.0
_EVERY_S = 60.0
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0}
_console = Console(highlight=False)


def verify(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only events that happened then or later, ISO 8601 (UTC by default). Redis is compared whole."
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Look again and again, after a first look only at what came since; Ctrl-C ends it."
        ),
    ] = False,
    every: Annotated[
        str | None, typer.Option(help="Time between two rounds of --watch, such as 30s or 5m [VERIFY_EVERY_SECONDS].")
    ] = None,
) -> None:
    """Compare PostgreSQL, both topics, BigQuery, the receiver, Redis and the dead letters row by row.

    Exit code 1 when something is missing, doubled, wrong or out of order, 2 when a place cannot be read.
    """
    moment = _moment(since)
    every_s = None if every is None else _seconds(every)
    settings = load_settings(data_dir)
    if watch:
        from engagement_stream.observe.log import configure_logging
        from engagement_stream.pipeline.process import end_with_the_supervisor
        from engagement_stream.verify.watch import run_watch

        end_with_the_supervisor()
        configure_logging(settings.stage, stage="verify")
        run_watch(settings, data_dir, _say, every_s=every_s or settings.verify.every_s or _EVERY_S, since=moment)
        return
    from engagement_stream.verify.run import verify as compare

    with _Display(_console) as display:
        report = compare(settings, data_dir, since=moment, tell=display.tell)
    if as_json:
        print(msgspec.json.encode({**msgspec.to_builtins(report), "exit_code": report.exit_code}).decode())
    else:
        _print(report)
    raise typer.Exit(report.exit_code)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"--since {text!r} is not ISO 8601, such as 2025-08-01 or 2025-08-01T12:00Z"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seconds(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    try:
        seconds = float(number) * _UNITS_S[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(f"--every {text!r} is not a time, such as 30s, 5m or 1h")
    return seconds


def _say(line: str) -> None:
    print(line, flush=True)


class _Display:
    """Rows read so far, a line a place; only on a terminal, and only when it takes long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self._rows: Counter[str] = Counter()
        self._bars: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def tell(self, place: str, rows: int) -> None:
        self._rows[place] += rows
        if not self._console.is_terminal or time.monotonic() - self._began_s < _SHOW_PROGRESS_AFTER_S:
            return
        if self._bars is None:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bars = Progress(*columns, console=self._console, transient=True)
            self._bars.add_task("")
            self._bars.start()
        seen = ", ".join(f"{name} {count:,}" for name, count in self._rows.items())
        self._bars.update(self._bars.task_ids[0], description=f"read: {seen}")


def _print(report: "Report") -> None:
    table = Table(box=None, padding=(0, 1))
    table.add_column("place", no_wrap=True)
    for name in ("rows", "missing", "doubled", "wrong", "order", "in flight", "letters", "changed", "left out"):
        table.add_column(name, justify="right", no_wrap=True)
    for place in report.places:
        table.add_row(place.name, *_cells(place))
    _console.print(table)
    for place in report.places:
        for note in place.notes:
            _console.print(f"note: {place.name}: {note}")
    for note in report.notes:
        _console.print(f"note: {note}")
    for finding in report.findings:
        # Values are shown as they are: markup in a title is no markup here.
        _console.print(
            f"{finding.kind.replace('_breaks', ' break')}: {finding.place}: {finding.id} {finding.detail}",
            markup=False,
            soft_wrap=True,
        )
    for lost in report.unreadable:
        _console.print(f"cannot be read: {lost.place}: {lost.reason}", markup=False, soft_wrap=True)
        _console.print(f"  what to do: {lost.remedy}", markup=False, soft_wrap=True)
    verdict = {
        0: "everything is right",
        1: "something is missing, doubled, wrong or out of order",
        2: "not everything could be read",
    }
    _console.print(f"{verdict[report.exit_code]} ({report.seconds:.1f} s)")


def _cells(place: "Place") -> list[str]:
    bad = [f"[red]{n:,}[/red]" if n else "0" for n in (place.missing, place.doubled, place.wrong, place.order_breaks)]
    rest = [f"{n:,}" for n in (place.in_flight, place.dead_lettered, place.changed_later, place.left_out)]
    return [f"{place.rows:,}", *bad, *rest]

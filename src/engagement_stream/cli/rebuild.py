"""`engagement rebuild redis`: all real-time state out of PostgreSQL, while the pipeline runs."""

import time
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from engagement_stream.cli.options import DEFAULT_DATA_DIR, DataDir, load_settings
from engagement_stream.cli.stream import stop_signal

if TYPE_CHECKING:
    from engagement_stream.rebuild.report import Progress, Report

app = typer.Typer(help="Make the state of a sink anew out of PostgreSQL.", no_args_is_help=True)
_LINE_EVERY_S = 10.0
_console = Console(highlight=False)


@app.callback()
def _rebuild() -> None:
    """Make the state of a sink anew out of PostgreSQL."""


@app.command("redis")
def redis(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do; Redis is not touched.")] = False,
) -> None:
    """Recompute everything in Redis from PostgreSQL; live goes on, readers see the old or the new, never a mix.

    For a Redis that was emptied, restored from an old copy, or away longer than Kafka keeps. Ctrl-C changes nothing.
    """
    settings = load_settings(data_dir)
    from engagement_stream.rebuild.run import Interrupted, rebuild_redis

    stop = stop_signal()
    with _Display(_console) as display:
        try:
            report = rebuild_redis(settings, dry_run=dry_run, stop=stop, tell=display.tell)
        except Interrupted as reason:
            _console.print(f"{reason}: run it again when it suits")
            raise typer.Exit(130) from None
    _print(report)


class _Display:
    """A bar on a terminal; elsewhere a line for each step, and now and then one while it counts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True
        )
        self._task = self._bars.add_task("", total=None)
        self._step = ""
        self._line_s = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, progress: "Progress") -> None:
        if self._console.is_terminal:
            total = progress.estimated_rows or None
            self._bars.update(self._task, description=_told(progress), completed=progress.rows, total=total)
            return
        now_s = time.monotonic()
        if progress.step != self._step or now_s - self._line_s >= _LINE_EVERY_S:
            self._step, self._line_s = progress.step, now_s
            self._console.print(_told(progress), soft_wrap=True)


def _told(progress: "Progress") -> str:
    if not progress.rows:
        return progress.step
    left = "" if progress.left_s is None else f", {progress.left_s:.0f} s left"
    return (
        f"{progress.step}: {progress.rows:,} of about {progress.estimated_rows:,} events "
        f"({progress.rate_per_s:,.0f}/s{left})"
    )


def _print(report: "Report") -> None:
    for note in report.notes:
        _console.print(f"note: {note}", soft_wrap=True)
    left_out = f"; {report.left_out:,} in the dead-letter queue are left out" if report.left_out else ""
    if report.dry_run:
        _console.print(
            f"Redis holds {report.redis_events:,} events; it would hold {report.events:,}{left_out}. "
            "Nothing was changed.",
            soft_wrap=True,
        )
        return
    refused = f"; {report.refused:,} cannot be stored by any sink" if report.refused else ""
    _console.print(
        f"rebuilt: {report.events:,} events of {report.contents:,} contents in {report.partitions} partitions, "
        f"equal to SQL's totals{left_out}{refused} ({report.seconds:.1f} s). "
        f"Redis held {report.redis_events:,} before; {report.forgotten_keys:,} old keys are deleted.",
        soft_wrap=True,
    )
    _console.print(
        "A redis stage that runs goes on by itself; one that had halted has to be restarted.", soft_wrap=True
    )

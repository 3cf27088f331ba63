"""`engagement generate`: believable traffic into the source database."""

import threading
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from engagement_stream.cli.options import load_settings
from engagement_stream.cli.stream import stop_signal
from engagement_stream.generate import Report
from engagement_stream.pipeline.process import end_with_the_supervisor

app = typer.Typer(help="Write believable traffic into the source database.", no_args_is_help=True)

DEFAULT_RATE = 20.0
_TELL_EVERY = 30
"""A running total every so many reports (about seconds) where there is no terminal."""


@app.command("continuous")
def continuous(
    rate: Annotated[float, typer.Option(help="Events per second.", min=0.1)] = DEFAULT_RATE,
    fixed_content: Annotated[
        bool, typer.Option("--fixed-content", help="Publish and edit no content meanwhile.")
    ] = False,
    content_changes: Annotated[
        float, typer.Option("--content-changes", help="Content published or edited per minute, on average.", min=0)
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Who does what, by chance; without it new each time.")] = None,
) -> None:
    """Write events at a steady rate until Ctrl-C; content is published and edited now and then."""
    from engagement_stream.generate import continuous as run

    end_with_the_supervisor()
    console, stop = Console(highlight=False), stop_signal()
    with _Display(console) as tell:
        per_min = 0.0 if fixed_content else content_changes
        report = run(_database(), rate, stop, tell, seed=seed, content_changes_per_min=per_min)
    console.print(str(report))


@app.command("batch")
def batch(
    batch_size: Annotated[int, typer.Option("--batch-size", help="Number of events.", min=1)] = 100,
) -> None:
    """Write exactly so many events, then end."""
    from engagement_stream.generate import batch as run

    console, stop = Console(highlight=False), stop_signal()
    with _Display(console) as tell:
        report = run(_database(), batch_size, tell, stop=stop)
    _finish(console, report, stop)


@app.command("historical")
def historical(
    historical_days: Annotated[int, typer.Option("--historical-days", help="Days back from now.", min=1)] = 7,
    rows: Annotated[int | None, typer.Option(help="Total number of events instead of 50,000 a day.", min=1)] = None,
) -> None:
    """Write past days, or months, of traffic: nights and weekends, seasons, growth, content published meanwhile."""
    from engagement_stream.generate import historical as run

    end_with_the_supervisor()
    console, stop = Console(highlight=False), stop_signal()
    with _Display(console) as tell:
        report = run(_database(), historical_days, tell, total_rows=rows, stop=stop)
    _finish(console, report, stop)


def _database() -> str:
    return load_settings().postgres.database_url.get_secret_value()


def _finish(console: Console, report: Report, stop: threading.Event) -> None:
    console.print(str(report))
    if stop.is_set():
        raise typer.Exit(130)


class _Display:
    """Draws reports: a bar on a terminal, now and then a line elsewhere, a line at each change of the connection."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console, transient=True
        )
        self._task: TaskID | None = None
        self._count = 0
        self._waiting_for = ""

    def __enter__(self) -> Callable[[Report], None]:
        if self._console.is_terminal:
            self._bars.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _tell(self, report: Report) -> None:
        if report.waiting_for != self._waiting_for:
            self._waiting_for = report.waiting_for
            self._console.print(
                f"waiting for PostgreSQL: {report.waiting_for}" if report.waiting_for else "writing again"
            )
        if self._console.is_terminal:
            if self._task is None:
                self._task = self._bars.add_task("", total=report.total_rows)
            self._bars.update(self._task, description=str(report), completed=report.rows)
        else:
            self._count += 1
            if self._count % _TELL_EVERY == 0:
                self._console.print(str(report))

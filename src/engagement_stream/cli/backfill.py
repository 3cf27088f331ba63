"""`engagement backfill`: past days out of PostgreSQL into where live events go."""

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from engagement_stream.cli.backfill_display import BackfillDisplay
from engagement_stream.cli.options import DEFAULT_DATA_DIR, DataDir, load_settings
from engagement_stream.cli.stream import stop_signal
from engagement_stream.errors import ConfigurationError

if TYPE_CHECKING:
    from engagement_stream.backfill.progress import Report
    from engagement_stream.backfill.rest_preview import RestPreview
    from engagement_stream.backfill.run import Preview

_TARGETS = ("bigquery", "http")
_NICE = 10
_console = Console(highlight=False)


def backfill(
    start_date: Annotated[str, typer.Option("--start-date", help="First day, YYYY-MM-DD, UTC.")],
    end_date: Annotated[str, typer.Option("--end-date", help="Last day, included.")],
    targets: Annotated[str, typer.Option(help="Where to: bigquery, http, or both with a comma.")] = "bigquery",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, day by day.")] = False,
    rate_limit: Annotated[
        float | None, typer.Option(help="Rows per second at most; by default as fast as live allows.", min=1)
    ] = None,
    without_live: Annotated[
        bool,
        typer.Option("--without-live", help="Do not wait for a pipeline; only where none ever delivered to the table."),
    ] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Deliver the events of past days that the target lacks; each event is there exactly once, however often it runs.

    It may overlap with the running pipeline and with earlier backfills, and be killed and run again at any time.
    """
    from engagement_stream.backfill.dates import day_range

    chosen = [name.strip() for name in targets.split(",")]
    if unknown := [name for name in chosen if name not in _TARGETS]:
        raise ConfigurationError(f"--targets {unknown[0]!r} is not one of {', '.join(_TARGETS)}.")
    wanted = day_range(start_date, end_date, datetime.now(UTC).date())
    settings = load_settings(data_dir)
    from engagement_stream.backfill.memory import give_back_at_once
    from engagement_stream.backfill.rest_preview import preview_rest
    from engagement_stream.backfill.rest_run import backfill_rest
    from engagement_stream.backfill.run import Backfill, Options, preview

    if dry_run:
        for target in chosen:
            if target == "http":
                _print_rest_preview(preview_rest(settings, wanted))
            else:
                _print_preview(preview(settings, wanted))
        _console.print("Nothing was changed.")
        return
    give_back_at_once()
    os.nice(_NICE)  # on one machine with the pipeline: its processes come first
    stop, options = stop_signal(), Options(rate_limit, without_live)
    for target in chosen:
        with BackfillDisplay(_console) as display:
            if target == "http":
                report = backfill_rest(settings, wanted, options, display.tell, stop)
            else:
                report = Backfill(settings, wanted, options, display.tell, stop).run()
        _print_report(report, "inserted" if target == "bigquery" else "sent")
        if report.stopped:
            _console.print("stopped: what was delivered stays; the same command goes on from here")
            raise typer.Exit(130)
        if report.unexplained:
            raise typer.Exit(1)


def _print_preview(found: "Preview") -> None:
    table = _preview_table("in BigQuery", "missing")
    for day in found.days:
        megabytes = 0 if day.complete else day.source.rows * found.row_bytes / 1e6
        table.add_row(
            str(day.day),
            f"{day.source.rows:,}",
            f"{day.target.rows:,}",
            "complete" if day.complete else f"{day.missing:,}" if day.missing else "differs",
            f"{megabytes:,.1f}",
        )
    _console.print(table)
    missing = sum(day.missing for day in found.days)
    rows = sum(day.source.rows for day in found.days if not day.complete)
    _console.print(
        f"{missing:,} events are missing; {rows:,} rows (about {rows * found.row_bytes / 1e6:,.1f} MB) would be read."
    )


def _print_rest_preview(found: "RestPreview") -> None:
    table = _preview_table("sent before", "to send")
    for day in found.days:
        megabytes = day.missing * found.event_bytes / 1e6
        table.add_row(
            str(day.day), f"{day.source.rows:,}", f"{day.target.rows:,}", f"{day.missing:,}", f"{megabytes:,.1f}"
        )
    _console.print(table)
    rows = sum(day.missing for day in found.days)
    begun = "" if found.after is None else f", after event {found.after:,}, where a run of these days was interrupted"
    _console.print(
        f"{rows:,} events (about {rows * found.event_bytes / 1e6:,.1f} MB) would be sent to the REST system{begun}. "
        "What it has already cannot be asked: it has to know events by their ids.",
        soft_wrap=True,
    )


def _preview_table(there: str, missing: str) -> Table:
    table = Table("day", box=None, padding=(0, 1))
    for name in ("in PostgreSQL", there, missing, "about MB"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _print_report(report: "Report", done: str) -> None:
    rate = report.read / report.seconds if report.seconds else 0
    _console.print(
        f"{report.inserted:,} events {done}, {report.read:,} read in {report.seconds:.1f} s ({rate:,.0f} rows/s); "
        f"{report.days} days with events, {report.complete_before} of them were complete before"
    )
    for reason, count in report.left_out_rows.items():
        ids = ", ".join(map(str, report.left_out[reason]))
        more = " ..." if count > len(report.left_out[reason]) else ""
        _console.print(f"left out, as the live path would: {count:,} ({reason}): {ids}{more}", soft_wrap=True)
    if report.by_event_time:
        _console.print(
            f"note: of {report.by_event_time:,} rows PostgreSQL does not know when they were committed "
            "(track_commit_timestamp); their content is the one as of event_ts",
            soft_wrap=True,
        )
    if report.statements and report.bytes_processed:
        _console.print(
            f"BigQuery: {report.statements} statements, {report.bytes_processed / 1e9:,.2f} GB read, "
            f"{report.slot_ms / 1000:,.0f} slot seconds"
        )
    if report.rested_s > 1:
        _console.print(f"rested {report.rested_s:.0f} s in all, for the live stream or the rate limit")
    for sentence in report.differences():
        _console.print(sentence, soft_wrap=True)

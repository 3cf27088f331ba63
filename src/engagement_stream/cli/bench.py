"""`engagement bench`: figures to compare, never a pass or a fail."""

import os
import platform
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(help="Measure latency and throughput on embedded servers of its own.", no_args_is_help=True)
_console = Console(highlight=False)


def _machine() -> str:
    import importlib.metadata

    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("confluent-kafka", "psycopg", "msgspec", "pyarrow")
    )
    python = f"Python {platform.python_version()}"
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {python}, {versions}"


@app.command("latency")
def latency(
    rate: Annotated[float, typer.Option(help="Events per second.", min=1)] = 1000.0,
    seconds: Annotated[float, typer.Option(help="How long to measure, after 10 s of warm-up.", min=5)] = 60.0,
) -> None:
    """Commit-to-durable latency of every sink at a steady rate, all sinks running."""
    from engagement_stream.bench.latency import measure_latency
    from engagement_stream.bench.rig import Rig

    with Rig(_console.print) as rig:
        figures = measure_latency(rig, rate, seconds, _console.print)
    table = Table("sink", "events", "p50 ms", "p90 ms", "p99 ms", title=f"latency at {rate:,.0f} events/s")
    for figure in figures:
        table.add_row(
            figure.sink,
            f"{figure.events:,}",
            *(f"{value * 1000:,.0f}" for value in (figure.p50_s, figure.p90_s, figure.p99_s)),
        )
    _console.print(table)
    _console.print(_machine())


@app.command("throughput")
def throughput(
    events: Annotated[int, typer.Option(help="Backlog that each stage works off.", min=10_000)] = 300_000,
    rates: Annotated[str, typer.Option(help="Rates at which the whole chain is tried.")] = "2000,5000,8000",
    seconds: Annotated[float, typer.Option(help="How long each rate is kept.", min=5)] = 60.0,
) -> None:
    """Each stage alone on a backlog, then the whole chain at rising rates until it does not keep up."""
    from engagement_stream.bench.rig import Rig
    from engagement_stream.bench.throughput import measure_chain, measure_stages

    table = Table("stage", "events/s", "CPU us/event", "MB", title=f"backlog of {events:,} events, one stage at a time")
    chain = Table("events/s", "keeps up", "drained after s", "CPU us/event by process", title="the whole chain")
    with Rig(_console.print) as rig:
        for figure in measure_stages(rig, events, _console.print):
            table.add_row(
                figure.stage, f"{figure.events_per_s:,.0f}", f"{figure.cpu_us_per_event:.1f}", f"{figure.rss_mb:.0f}"
            )
        for rate in (float(text) for text in rates.split(",")):
            result = measure_chain(rig, rate, seconds, _console.print)
            costs = ", ".join(f"{name} {cost:.0f}" for name, cost in result.cpu_us_per_event.items())
            chain.add_row(
                f"{result.events / seconds:,.0f}",
                "yes" if result.sustained else "no",
                f"{result.drained_after_s:.1f}",
                costs,
            )
            if not result.sustained:
                break
    _console.print(table)
    _console.print(chain)
    _console.print(_machine())


@app.command("copy")
def copy(
    rows: Annotated[int, typer.Option(help="Events that are in the table before the first start.", min=100_000)] = (
        2_000_000
    ),
) -> None:
    """The first start on a large existing database: rows per second from PostgreSQL into Kafka."""
    from engagement_stream.bench.first_copy import measure_copy
    from engagement_stream.bench.rig import Rig

    table = Table("rows", "rows/s", "CPU us/row", "MB", "a live event after it, ms", title="first copy, capture alone")
    with Rig(_console.print) as rig:
        figure = measure_copy(rig, rows, _console.print)
    table.add_row(
        f"{figure.rows:,}",
        f"{figure.rows_per_s:,.0f}",
        f"{figure.cpu_us_per_row:.1f}",
        f"{figure.rss_mb:.0f}",
        f"{figure.live_after_s * 1000:,.0f}",
    )
    _console.print(table)
    _console.print(_machine())


@app.command("backfill")
def backfill(
    rows: Annotated[int, typer.Option(help="Events of the last ten days.", min=100_000)] = 5_000_000,
    rate: Annotated[
        float, typer.Option(help="Live events per second for the second part; 0 leaves it out.", min=0)
    ] = 200.0,
    only_beside_live: Annotated[
        bool, typer.Option("--beside-live", help="Only the second part: live p99 idle, beside a backfill, the ratio.")
    ] = False,
) -> None:
    """Past days into BigQuery: the reader alone, the emulator alone, the whole, and what live traffic notices."""
    from engagement_stream.bench.backfill import fill, limit, measure_live, measure_parts
    from engagement_stream.bench.rig import Rig

    table = Table("what", "rows", "rows/s", "CPU us/row", "peak MB", title=f"backfill of {rows:,} events")
    live = Table("sink", "p99 ms idle", "p99 ms beside", "ratio (goal: 2)", title=f"live at {rate:,.0f} events/s")
    with Rig(_console.print) as rig:
        wanted = fill(rig, rows, _console.print)
        figures = [] if only_beside_live else measure_parts(rig, wanted, _console.print)
        if rate:
            figure, seen = measure_live(rig, wanted, rate, _console.print)
            figures.append(figure)
            for one in seen:
                milliseconds = (f"{value * 1000:,.0f}" for value in (one.idle_p99_s, one.beside_p99_s))
                live.add_row(one.sink, *milliseconds, f"{one.ratio:.1f}")
    for part in figures:
        costs = ", ".join(f"{name} {cost:.1f}" for name, cost in part.cpu_us_per_row().items())
        table.add_row(part.what, f"{part.rows:,}", f"{part.rows_per_s:,.0f}", costs, f"{part.peak_mb:,.0f}")
    _console.print(table)
    if not only_beside_live:
        _console.print(limit(figures[:3]))
    if rate:
        _console.print(live)
    _console.print(_machine())

"""`python -m benchmarks goals ...`: each goal's measurement by itself, then the page out of what they kept."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.goals.exactly_once import measure_exactly_once
from benchmarks.goals.growth import Growth, Step, measure_growth
from benchmarks.goals.idle import measure_idle
from benchmarks.goals.record import keep, server_versions
from benchmarks.goals.serving import measure_serving
from benchmarks.goals.sustained import Sustained, measure_sustained
from engagement_stream.bench.latency import measure_latency
from engagement_stream.bench.rig import Rig

app = typer.Typer(
    help="The project's goals, each measured by itself and kept in docs/benchmarks.", no_args_is_help=True
)
tell = Console(highlight=False).print
_HOW = "python -m benchmarks goals"


@contextmanager
def _servers() -> Iterator[tuple[Rig, dict[str, str]]]:
    with Rig(tell) as rig:
        yield rig, server_versions(rig)


@app.command()
def sustained(
    rate: Annotated[float, typer.Option(help="Events per second.", min=100)] = 20_000.0,
    seconds: Annotated[float, typer.Option(help="How long it is kept, after 15 s of warm-up.", min=5)] = 300.0,
    batch_size: Annotated[int, typer.Option(help="BATCH_SIZE: events in a REST request.", min=1)] = 500,
    verify: Annotated[bool, typer.Option(help="Run the ledger over everything at the end.")] = True,
) -> None:
    """All stages and sinks at one open-loop rate: lag over time, CPU and memory of every process, then the ledger."""
    with _servers() as (rig, versions):
        found = measure_sustained(rig, rate, seconds, batch_size, tell)
        _tell_rate(found)
        if verify:
            found = _with_ledger(found, rig)
    how = f"{_HOW} sustained --rate {rate:g} --seconds {seconds:g} --batch-size {batch_size}"
    keep("sustained", how, found, versions)


@app.command()
def ladder(
    rates: Annotated[str, typer.Option(help="Events per second, rising.")] = "1000,5000,10000,15000,20000,25000",
    seconds: Annotated[float, typer.Option(help="How long each is kept, after 15 s of warm-up.", min=5)] = 60.0,
    batch_size: Annotated[int, typer.Option(help="BATCH_SIZE: events in a REST request.", min=1)] = 500,
) -> None:
    """Throughput against lag: rising rates on the same servers, until one is not kept up with."""
    steps = []
    with _servers() as (rig, versions):
        for rate in map(float, rates.split(",")):
            steps.append(measure_sustained(rig, rate, seconds, batch_size, tell))
            _tell_rate(steps[-1])
            if not steps[-1].steady:
                break
    keep("ladder", f"{_HOW} ladder --rates {rates} --seconds {seconds:g}", steps, versions)


@app.command()
def latency(
    rate: Annotated[float, typer.Option(help="Events per second.", min=1)] = 1_000.0,
    seconds: Annotated[float, typer.Option(help="How long, after 10 s of warm-up.", min=5)] = 60.0,
) -> None:
    """Commit to durable, per sink, and as an observer from outside sees Redis."""
    with _servers() as (rig, versions):
        figures = measure_latency(rig, rate, seconds, tell)
    for one in figures:
        tell(f"  {one.sink}: p50 {one.p50_s * 1000:,.0f} ms, p99 {one.p99_s * 1000:,.0f} ms, {one.events:,} events")
    keep("latency", f"{_HOW} latency --rate {rate:g} --seconds {seconds:g}", {"rate": rate, "sinks": figures}, versions)


@app.command(name="exactly-once")
def exactly_once(
    rows: Annotated[int, typer.Option(help="Backlog that each run works off.", min=50_000)] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="Runs of each, alternating; medians are told.", min=1)] = 3,
) -> None:
    """The same backlog with and without ENABLE_EXACTLY_ONCE."""
    directory = Path(tempfile.mkdtemp(prefix="engagement-goals-"))
    try:
        with _servers() as (rig, versions):
            found = measure_exactly_once(rig, directory, rows, rounds, tell)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    keep("exactly-once", f"{_HOW} exactly-once --rows {rows} --rounds {rounds}", found, versions)


@app.command()
def growth(
    events: Annotated[int, typer.Option(help="Events of the long run.", min=100_000)] = 10_000_000,
    steps: Annotated[int, typer.Option(help="Parts it is told in.", min=2)] = 10,
    contents: Annotated[str, typer.Option(help="Numbers of contents for the short runs.")] = "100,100000",
    events_each: Annotated[int, typer.Option(help="Events of each short run.", min=50_000)] = 300_000,
    rounds: Annotated[int, typer.Option(help="Short runs of each, alternating; medians are told.", min=1)] = 3,
    sinks: Annotated[str, typer.Option(help="Sinks that take part.")] = "redis,bigquery,http",
) -> None:
    """CPU per event and memory, from the first million events to the last, and from few contents to many."""
    names = [name for name in sinks.split(",") if name]
    runs: dict[int, list[Step]] = {number: [] for number in map(int, contents.split(","))}
    for _ in range(rounds):
        for number, found in runs.items():
            with _servers() as (rig, _):
                found.append(measure_growth(rig, number, events_each, 2, names, tell).steps[-1])
    with _servers() as (rig, versions):
        long = measure_growth(rig, 1_000, events, steps, names, tell)
    how = f"{_HOW} growth --events {events} --steps {steps} --contents {contents} --events-each {events_each}"
    how += f" --rounds {rounds} --sinks {sinks}"
    keep("growth", how, {"events": long, "contents": [Growth(*run) for run in runs.items()]}, versions)


@app.command()
def workers(
    count: Annotated[int, typer.Option(help="Workers of each stage, beside one; capture stays one.", min=2, max=3)] = 3,
    events: Annotated[int, typer.Option(help="Events of each run.", min=100_000)] = 600_000,
    sinks: Annotated[str, typer.Option(help="Sinks that take part.")] = "redis,bigquery,http",
) -> None:
    """What an event costs with one worker a stage and with several: what more cores would give."""
    names = [name for name in sinks.split(",") if name]
    runs = []
    for number in (1, count):
        with _servers() as (rig, versions):
            tell(f"{number} of each stage:")
            runs.append(measure_growth(rig, 1_000, events, 2, names, tell, workers=number))
    found = {"workers": count, "one": runs[0].steps[-1], "several": runs[1].steps[-1]}
    keep("workers", f"{_HOW} workers --count {count} --events {events} --sinks {sinks}", found, versions)


@app.command()
def idle(
    seconds: Annotated[float, typer.Option(help="How long, after 20 s of rest.", min=5)] = 60.0,
) -> None:
    """CPU of all our processes together while nothing happens."""
    with _servers() as (rig, versions):
        found = measure_idle(rig, seconds, tell)
    tell(f"  ours {found.ours:.1%} of one core, servers {sum(found.servers.values()):.1%}")
    keep("idle", f"{_HOW} idle --seconds {seconds:g}", found, versions)


@app.command()
def serving(
    rate: Annotated[float, typer.Option(help="Events per second meanwhile.", min=1)] = 1_000.0,
    seconds: Annotated[float, typer.Option(help="How long questions are asked.", min=5)] = 60.0,
    questions: Annotated[float, typer.Option(help="Questions per second.", min=1)] = 50.0,
) -> None:
    """How long /top-content and /content/{id}/stats take while events stream."""
    with _servers() as (rig, versions):
        found = measure_serving(rig, rate, seconds, questions, tell)
    for one in found:
        tell(f"  {one.path}: p50 {one.at(0.5):.1f} ms, p99 {one.at(0.99):.1f} ms, {len(one.answers_ms):,} answers")
    how = f"{_HOW} serving --rate {rate:g} --seconds {seconds:g} --questions {questions:g}"
    keep("serving", how, {"rate": rate, "paths": found}, versions)


@app.command()
def page() -> None:
    """docs/benchmarks.md and its plots, out of whatever was kept."""
    from benchmarks.goals.page import write_page

    tell(f"written: {write_page(tell).name}")


def _tell_rate(found: Sustained) -> None:
    lag = ", ".join(f"{name} {found.samples[-1].lag[name]:,}" for name in found.samples[-1].lag)
    costs = ", ".join(f"{name} {cost:.0f}" for name, cost in found.cpu_us_per_event.items())
    tell(
        f"  {found.written_per_s:,.0f}/s written, {'steady' if found.steady else 'falls behind'}, lag at the end {lag}"
    )
    tell(f"  {found.cores:.2f} cores; CPU us/event: {costs}")


def _with_ledger(found: Sustained, rig: Rig) -> Sustained:
    from dataclasses import replace

    from engagement_stream.verify.run import verify

    tell("the ledger ...")
    report = verify(rig.settings, rig.data_dir)
    counts = {
        "events": max(place.rows for place in report.places),
        "missing": sum(place.missing for place in report.places),
        "doubled": sum(place.doubled for place in report.places),
        "wrong": sum(place.wrong for place in report.places),
        "unreadable": len(report.unreadable),
    }
    tell(f"  {counts}")
    return replace(found, ledger=counts)

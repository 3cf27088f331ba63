"""`python -m benchmarks`: peers and ourselves in one run, alternating, medians of several rounds."""

import datetime as dt
import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from benchmarks.capturing import Debezium, OurCapture
from benchmarks.contender import Contender, Figure
from benchmarks.enriching import OurEnrich, PeerEnrich
from benchmarks.goals.commands import app as goals
from benchmarks.goals.record import keep, machine
from benchmarks.limits import ConsumerPerf, Limit, ProducerPerf, RecvLogical
from benchmarks.measuring import measure, middle
from benchmarks.packages import debezium_classpath, peers_python
from benchmarks.table import table
from benchmarks.whole import OurWhole, PeerWhole
from engagement_stream.bench.rig import Rig

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(goals, name="goals")
_console = Console(highlight=False)
tell = _console.print


@app.callback()
def benchmarks() -> None:
    """Peers and ourselves in one run on this machine; needs the network the first time."""


@app.command()
def compare(
    rows: Annotated[int, typer.Option(help="Backlog that each contender works off.", min=50_000)] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="Runs of each; medians are told.", min=1)] = 3,
    report: Annotated[
        Path | None, typer.Option(help="Write the table (.md) and every figure (.json) here, too.")
    ] = None,
) -> None:
    """Capture and enrichment beside Debezium, Quix Streams and Faust, and what the servers' own tools give at most."""
    classpath, python = debezium_classpath(tell), peers_python(tell)
    directory = Path(tempfile.mkdtemp(prefix="engagement-compare-"))
    try:
        with Rig(tell) as rig:
            captured, capture = _capture(rig, directory, classpath, rows, rounds)
            enriched = _enrich(rig, directory, python, captured, rows)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    parts = {"PostgreSQL to Kafka": capture, "Raw topic to enriched topic": enriched}
    _tell_all("compare", parts, rows, rounds, report)


def _capture(
    rig: Rig, directory: Path, classpath: str, rows: int, rounds: int
) -> tuple[list[OurCapture], list[list[Figure]]]:
    """All slots first, then the rows once: everybody reads the same write-ahead log.

    The first round warms the broker up and does not count; it wants a million rows of each side, or its compiler still
    works in the rounds that do (5 us a record of the first 300,000 transactional ones, 0.4 after 3,000,000).
    """
    numbers = range(rounds + 1)
    ours = [OurCapture(rig, directory, number) for number in numbers]
    debezium = [Debezium(rig, directory, number, classpath) for number in numbers]
    walsender = [RecvLogical(rig, number) for number in numbers]
    everybody: list[OurCapture | Debezium | RecvLogical] = [*ours, *debezium, *walsender]
    for one in everybody:
        tell(f"preparing {one.name} ...")
        one.prepare()
    _write_rows(rig, rows)
    found: list[list[Figure]] = [[], [], [], []]
    for number in numbers:
        pair: Sequence[tuple[int, Contender]] = [(0, ours[number]), (1, debezium[number])]
        for place, contender in pair if number % 2 else reversed(pair):
            _round(rig, contender, rows, found[place], number)
        _limit(walsender[number], rows, found[2], number)
        _limit(ProducerPerf(rig, directory, number, ours[number].topic), rows, found[3], number)
    return ours, found


def _enrich(rig: Rig, directory: Path, python: Path, captured: list[OurCapture], rows: int) -> list[list[Figure]]:
    found: list[list[Figure]] = [[], [], [], []]
    for number, source in enumerate(captured):
        topics = (source.topic, source.content_topic)
        contenders: list[tuple[int, Contender]] = [
            (0, OurEnrich(rig, directory, source)),
            (1, PeerEnrich("Quix Streams 3.28, exactly once", "quix.py", python, rig, directory, topics, number)),
            (2, PeerEnrich("Faust 0.15, exactly once", "faust_job.py", python, rig, directory, topics, number)),
        ]
        for place, contender in contenders if number % 2 else reversed(contenders):
            contender.prepare()
            try:
                _round(rig, contender, rows, found[place], number)
            except RuntimeError as error:
                tell(f"  {contender.name} cannot do it: {error}")
        _limit(ConsumerPerf(rig, source.topic), rows, found[3], number)
    return [runs for runs in found if runs]


@app.command()
def whole(
    rows: Annotated[int, typer.Option(help="Backlog that each side works off.", min=50_000)] = 300_000,
    rounds: Annotated[int, typer.Option(help="Runs of each; medians are told.", min=1)] = 3,
    report: Annotated[
        Path | None, typer.Option(help="Write the table (.md) and every figure (.json) here, too.")
    ] = None,
) -> None:
    """PostgreSQL to Redis, all processes at once, beside Debezium with Quix Streams and its Redis sink."""
    classpath, python = debezium_classpath(tell), peers_python(tell)
    directory = Path(tempfile.mkdtemp(prefix="engagement-compare-"))
    found: list[list[Figure]] = [[], []]
    try:
        with Rig(tell) as rig:
            numbers = range(rounds + 1)
            captured = [OurCapture(rig, directory, number) for number in numbers]
            sides: list[list[Contender]] = [[OurWhole(rig, directory, source) for source in captured], []]
            for number in numbers:
                debezium = Debezium(rig, directory, number, classpath)
                # The peers' job reads contents out of our topic: theirs would not be whole before it starts.
                topics = (debezium.topic, captured[0].content_topic)
                enrich = PeerEnrich("Quix Streams", "quix.py", python, rig, directory, topics, number)
                sides[1].append(PeerWhole(debezium, enrich, python, rig, number))
            for contender in (*sides[0], *sides[1]):
                tell(f"preparing {contender.name} ...")
                contender.prepare()
            _write_rows(rig, rows)
            for number in numbers:
                for place in (0, 1) if number % 2 == 0 else (1, 0):
                    _round(rig, sides[place][number], rows, found[place], number)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    _tell_all("whole", {"PostgreSQL to Redis": found}, rows, rounds, report)


def _write_rows(rig: Rig, rows: int) -> None:
    tell(f"writing {rows:,} rows ...")
    writer = rig.generate("historical", "--historical-days", "7", "--rows", str(rows))
    if writer.wait(900) != 0:
        raise RuntimeError("the generator failed")


def _tell_all(name: str, parts: Mapping[str, list[list[Figure]]], rows: int, rounds: int, report: Path | None) -> None:
    text = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {machine()}; {rows:,} rows, medians of {rounds} rounds."
    keep(name, f"python -m benchmarks {name} --rows {rows} --rounds {rounds}", parts, {})
    for title, runs in parts.items():
        text += f"\n\n### {title}\n\n" + table([middle(each) for each in runs if each])
    tell(text)
    if report is not None:
        report.with_suffix(".md").write_text(text + "\n")
        report.with_suffix(".json").write_text(json.dumps(msgspec.to_builtins(parts), indent=1) + "\n")


def _round(rig: Rig, contender: Contender, rows: int, found: list[Figure], number: int) -> None:
    figure = measure(contender, rows, rig.server_pid("kafka"))
    tell(f"  {contender.name}: {figure.records_per_s:,.0f}/s{'' if number else ' (warming up)'}")
    if number:
        found.append(figure)


def _limit(limit: Limit, rows: int, found: list[Figure], number: int) -> None:
    figure = Figure(limit.name, limit.records_per_s(rows), math.nan, math.nan, math.nan)
    tell(f"  {limit.name}: {figure.records_per_s:,.0f}/s")
    if number:
        found.append(figure)


if __name__ == "__main__":
    app()

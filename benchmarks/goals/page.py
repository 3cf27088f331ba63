"""docs/benchmarks.md, written out of what was kept: the goals, the tables behind them, plots, how to repeat."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.contender import Figure
from benchmarks.goals.record import HOME, Record, read
from benchmarks.goals.verdicts import NOT_YET, middle_step, verdicts
from benchmarks.measuring import middle
from benchmarks.packages import plots_python
from benchmarks.table import table

_PARTS = ("latency", "sustained", "ladder", "compare", "whole", "exactly-once", "growth", "workers", "idle", "serving")
_HEAD = """# Benchmarks

Written by `python -m benchmarks goals page` out of the raw data in [docs/benchmarks](benchmarks/). Servers, traffic
and measuring run on the same machine as the stages, exactly-once on unless said otherwise. The machines are small and
noisy: ratios matter, not absolutes.
"""
_TITLES = {
    "latency": "Commit to durable",
    "sustained": "The whole chain at a steady rate",
    "ladder": "Throughput against lag",
    "exactly-once": "What exactly-once costs",
    "growth": "Cost of growth",
    "workers": "More workers",
}


def write_page(tell: Callable[[str], None], home: Path = HOME) -> Path:
    """Plots and page; returns the page's path."""
    job = Path(__file__).parents[1] / "jobs" / "plots.py"
    subprocess.run([str(plots_python(tell)), str(job), str(home)], check=True)
    file = home.parent / "benchmarks.md"
    notes = home / "notes.md"
    records = {part: record for part in _PARTS if (record := read(part, home)) is not None}
    text = page(records, {plot.stem for plot in home.glob("*.svg")})
    file.write_text(text + ("\n" + notes.read_text() if notes.exists() else ""))
    return file


def page(records: Mapping[str, Record], plots: set[str]) -> str:
    """The page's text; pure."""
    lines = [_HEAD, "## Goals", "", "| goal | asked | measured | |", "|---|---|---|---|"]
    lines += [f"| {v.goal} | {v.asked} | {v.measured} | {v.word} |" for v in verdicts(records)]
    for part, write in _SECTIONS.items():
        record = records.get(part)
        if record is None:
            continue
        if part in _TITLES:
            lines += ["", f"## {_TITLES[part]}"]
        lines += ["", *write(record.result)]
        if part in plots:
            lines += ["", f"![{_TITLES.get(part, part)}](benchmarks/{part}.svg)"]
    return "\n".join([*lines, "", *_repeat(records)]) + "\n"


def _repeat(records: Mapping[str, Record]) -> Iterator[str]:
    yield "## How to repeat"
    yield ""
    yield "Each command starts servers of its own in a temporary directory, and leaves its JSON in docs/benchmarks."
    yield ""
    yield "| part | date | command | machine |"
    yield "|---|---|---|---|"
    for part in _PARTS:
        record = records.get(part)
        if record is None:
            yield f"| {part} | {NOT_YET} | | |"
        else:
            yield f"| {part} | {record.date} | `{record.command}` | {record.machine} |"
    versions: dict[str, set[str]] = {}
    for record in records.values():
        for name, version in record.versions.items():
            versions.setdefault(name, set()).add(version)
    yield ""
    yield "Versions: " + ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in sorted(versions.items()))


def _latency(result: Any) -> Iterator[str]:
    yield f"At {result['rate']:,.0f} events/s, all sinks running, open-loop traffic: from PostgreSQL's commit timestamp"
    yield "to the sink's durable receipt (the stages' own histograms); the last line is an observer that writes and"
    yield "polls."
    yield ""
    yield "| sink | events | p50 ms | p90 ms | p99 ms |"
    yield "|---|---|---|---|---|"
    for one in result["sinks"]:
        cells = " | ".join(f"{one[name] * 1000:,.0f}" for name in ("p50_s", "p90_s", "p99_s"))
        yield f"| {one['sink']} | {one['events']:,} | {cells} |"


def _sustained(result: Any) -> Iterator[str]:
    yield (
        f"{result['written_per_s']:,.0f} events/s written (asked: {result['rate_per_s']:,.0f}), "
        f"{result['events']:,} events; drained {result['drained_after_s']:.1f} s after the traffic ended; "
        f"{result['cores']:.2f} cores busy with all of it."
    )
    if ledger := result["ledger"]:
        yield "The ledger afterwards: " + ", ".join(f"{name} {count:,}" for name, count in ledger.items()) + "."
    yield ""
    yield "| process | CPU us per event | largest memory MB | lag growth, events/s |"
    yield "|---|---|---|---|"
    for name, cost in result["cpu_us_per_event"].items():
        memory, growth = result["rss_mb"].get(name), result["growth_per_s"].get(name)
        yield f"| {name} | {cost:.1f} | {_or_blank(memory, '.0f')} | {_or_blank(growth, '+.1f')} |"


def _ladder(result: Any) -> Iterator[str]:
    yield "Lag is the middle one of the samples, in events, for Redis, BigQuery and REST; CPU is of all together."
    yield ""
    yield "| events/s asked | written | steady | drained after s | cores | CPU us per event | lag |"
    yield "|---|---|---|---|---|---|---|"
    for step in result:
        lags = ", ".join(f"{_middle_lag(step, sink):,}" for sink in ("redis", "bigquery", "http"))
        steady = all(slope <= 0.01 * step["rate_per_s"] for slope in step["growth_per_s"].values())
        steady = steady and step["written_per_s"] >= 0.97 * step["rate_per_s"]
        costs = sum(step["cpu_us_per_event"].values())
        yield (
            f"| {step['rate_per_s']:,.0f} | {step['written_per_s']:,.0f} | {'yes' if steady else 'no'} "
            f"| {step['drained_after_s']:.1f} | {step['cores']:.2f} | {costs:.0f} | {lags} |"
        )


def _middle_lag(step: Any, sink: str) -> int:
    lags = sorted(sample["lag"][sink] for sample in step["samples"][len(step["samples"]) // 3 :])
    return int(lags[len(lags) // 2])


def _peers(result: Any) -> Iterator[str]:
    for title, runs in result.items():
        figures = [middle(msgspec.convert(_finite(each), list[Figure])) for each in runs if each]
        yield f"## {title}, beside the peers"
        yield ""
        yield f"Medians of {len(runs[0])} alternating rounds on the same servers and rows."
        yield ""
        yield from table(figures).split("\n")
        yield ""


def _finite(figures: Any) -> Any:
    """JSON has no NaN: what was not measured is null there."""
    return [{name: float("nan") if value is None else value for name, value in figure.items()} for figure in figures]


def _exactly_once(result: Any) -> Iterator[str]:
    yield "The same backlog, alternating rounds, medians."
    yield ""
    yield "| stages | on, events/s | off, events/s | costs | CPU us on | CPU us off |"
    yield "|---|---|---|---|---|---|"
    for what in ("capture", "enrich", "whole"):
        on, off = (middle(msgspec.convert(result[f"{what}.{mode}"], list[Figure])) for mode in ("on", "off"))
        cost = 1 - on.records_per_s / off.records_per_s
        yield (
            f"| {what} | {on.records_per_s:,.0f} | {off.records_per_s:,.0f} | {cost:.0%} "
            f"| {on.cpu_us:.1f} | {off.cpu_us:.1f} |"
        )


def _growth(result: Any) -> Iterator[str]:
    runs = [
        (f"{s['events']:,} events, {result['events']['contents']:,} contents", s) for s in result["events"]["steps"]
    ]
    runs += [(f"{run['contents']:,} contents", middle_step(run["steps"])) for run in result["contents"]]
    names = list(runs[0][1]["cpu_us_per_event"])
    rounds = len(result["contents"][0]["steps"])
    yield f"The last two lines are medians of {rounds} alternating runs. The last column is what a loop that has"
    yield "nothing to do with events cost meanwhile: the ratios among the goals are in units of it."
    yield ""
    yield f"| | {' | '.join(f'{name}: us, MB' for name in names)} | reference us |"
    yield "|---|" + "---|" * (len(names) + 1)
    for title, step in runs:
        cells = (f"{step['cpu_us_per_event'][name]:.1f}, {step['rss_mb'][name]:.0f}" for name in names)
        yield f"| {title} | {' | '.join(cells)} | {step['reference_us']:.2f} |"


def _workers(result: Any) -> Iterator[str]:
    one, several, count = result["one"], result["several"], result["workers"]
    yield f"The whole chain on a backlog, all of it on this machine: what an event costs with {count} workers"
    yield "a stage tells what more cores would give. The last column is that on paper: a core to each worker, others to"
    yield "the servers. Capture is one process, for a slot has one reader: its rate is the whole's."
    yield ""
    yield f"| stage | CPU us, one worker | {count} workers | ratio | MB a worker | events/s on paper |"
    yield "|---|---|---|---|---|---|"
    for name, alone_us in one["cpu_us_per_event"].items():
        shared_us, cores = several["cpu_us_per_event"][name], 1 if name == "capture" else count
        yield (
            f"| {name} | {alone_us:.1f} | {shared_us:.1f} | {shared_us / alone_us:.2f}x "
            f"| {several['rss_mb'][name]:.0f} | {cores * 1e6 / shared_us:,.0f} |"
        )


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


_SECTIONS: dict[str, Callable[[Any], Iterator[str]]] = {
    "latency": _latency,
    "sustained": _sustained,
    "ladder": _ladder,
    "compare": _peers,
    "whole": _peers,
    "exactly-once": _exactly_once,
    "growth": _growth,
    "workers": _workers,
}

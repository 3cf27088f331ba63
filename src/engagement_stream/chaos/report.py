"""The report of a run, in Markdown: the verdict first, then the ledger, recoveries by kind, the timeline. Pure."""

import math
from collections.abc import Iterable, Iterator, Sequence

from engagement_stream.chaos.kinds import BY_NAME
from engagement_stream.chaos.result import KindFigure, Result, Struck, by_kind, together
from engagement_stream.verify.report import KINDS, Place


def summary(result: Result) -> list[str]:
    """The sentences that matter, for a terminal as for a page."""
    done = result.done
    kinds = len({struck.fault.kind for struck in done})
    aimed = len({(struck.fault.kind, struck.fault.target) for struck in done})
    lines = [
        (
            f"{result.events:,} events, {len(done)} faults of {kinds} kinds ({aimed} with their targets), "
            f"{sum(result.kills.values())} kills of stages, in {_duration(result.seconds)}."
        ),
        _found(result),
    ]
    never = [str(struck.fault) for struck in done if struck.recovered_s is None]
    if never:
        lines.append(f"Never recovered: {'; '.join(never)}.")
    return [*lines, *(f"Wrong: {sentence}." for sentence in result.wrong)]


def markdown(result: Result) -> str:
    """The whole report."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    plan = result.plan
    verdict = "everything is right" if result.exit_code == 0 else "NOT right"
    yield f"# Chaos, seed {plan.seed}: {verdict}"
    yield ""
    yield from summary(result)
    yield ""
    yield "Repeat it (the same seed plans the same faults; how they meet the load differs from run to run):"
    yield ""
    yield "```"
    profile = "" if plan.profile == "standard" else f" --profile {plan.profile}"
    yield (
        f"engagement chaos --seed {plan.seed} --duration {_duration(plan.duration_s)} "
        f"--rate {result.rate_per_s:g}{profile}"
    )
    yield "```"
    yield ""
    yield from _ledger(result)
    yield from _kinds(result)
    yield from _kills(result)
    yield from _timeline(result.struck)
    yield "## What ran"
    yield ""
    yield ", ".join(f"{name} {number}" for name, number in result.versions.items())


def _found(result: Result) -> str:
    if result.ledger is None:
        return "The ledger was not asked."
    places = result.ledger.places
    found = ", ".join(f"{sum(getattr(place, kind) for place in places):,} {_words(kind)}" for kind in KINDS)
    said = f"{found}, {sum(place.in_flight for place in places):,} still on their way."
    unreadable = "".join(f" Cannot be read: {lost.place}, {lost.reason}." for lost in result.ledger.unreadable)
    return said + unreadable


def _ledger(result: Result) -> Iterator[str]:
    yield "## The ledger"
    yield ""
    yield "Row by row, values included, and in order within each content; each place against the one before it."
    yield ""
    if result.ledger is None:
        return
    shown = ("name", "rows", *KINDS, "in_flight", "dead_lettered", "changed_later", "left_out")
    yield from _table([_words(name) for name in shown], (_cells(place, shown) for place in result.ledger.places))
    for place in result.ledger.places:
        yield from (f"- {place.name}: {note}" for note in place.notes)
    yield from (f"- {note}" for note in (*result.ledger.notes, *result.remarks))
    yield from (f"- **{_words(f.kind)}** in {f.place}: {f.id} {f.detail}" for f in result.ledger.findings)
    yield ""


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cells(place: Place, shown: Sequence[str]) -> list[str]:
    values = [getattr(place, name) for name in shown]
    return [f"{value:,}" if isinstance(value, int) else str(value) for value in values]


def _kinds(result: Result) -> Iterator[str]:
    yield "## Faults by kind"
    yield ""
    yield (
        "Recovery: from the fault's end until what was committed by then is durable behind every stage that felt it, "
        "in seconds."
    )
    yield ""
    header = ["kind", "what", "targets", "faults", "p50", "p95", "max", "never"]
    yield from _table(header, map(_kind_cells, by_kind(result.struck)))
    overlapping = together(result.struck)
    yield f"{len(overlapping)} of them met another one at the same stage before it had recovered; they count too."
    yield ""


def _kind_cells(figure: KindFigure) -> list[str]:
    targets = ", ".join(f"{name} {count}" for name, count in sorted(figure.targets.items()))
    times = [_seconds(figure.quantile_s(q)) for q in (0.5, 0.95, 1.0)]
    return [figure.kind, BY_NAME[figure.kind].says, targets, str(figure.count), *times, str(figure.never)]


def _kills(result: Result) -> Iterator[str]:
    yield "Kills of stages: " + ", ".join(f"{stage} {count}" for stage, count in sorted(result.kills.items())) + "."
    yield ""
    yield f"The first capture of all died at `{result.plan.first_crash}`, in the middle of its first copy."
    yield ""


def _timeline(struck: Sequence[Struck]) -> Iterator[str]:
    yield "## Timeline"
    yield ""
    yield "<details><summary>Every fault, in seconds since the load began</summary>"
    yield ""
    overlapping = together(struck)
    rows = (
        [
            f"{one.began_s:.1f}",
            str(one.fault),
            f"{one.ended_s - one.began_s:.1f}",
            "" if one.skipped else _seconds(math.nan if one.recovered_s is None else one.recovered_s),
            "; ".join(
                part
                for part in (
                    one.note,
                    one.skipped and f"skipped: {one.skipped}",
                    "together" if i in overlapping else "",
                )
                if part
            ),
        ]
        for i, one in enumerate(struck)
    )
    yield from _table(["at", "fault", "lasted", "recovered after", "note"], rows)
    yield "</details>"
    yield ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in row)} |"
    yield ""


def _seconds(value: float) -> str:
    return "never" if math.isnan(value) else f"{value:.1f}"


def _duration(seconds: float) -> str:
    """30 s -> 30s, 90 s -> 90s, 600 s -> 10m."""
    whole = round(seconds)
    return f"{whole // 60}m" if whole % 60 == 0 and whole else f"{whole}s"

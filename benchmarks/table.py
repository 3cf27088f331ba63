"""Medians and ratios as Markdown."""

from collections.abc import Sequence

from benchmarks.contender import Figure


def table(figures: Sequence[Figure]) -> str:
    """The first row is what the others are compared with."""
    lines = [
        "| | records/s | against ours | CPU us per record, its own | broker | memory MB |",
        "|---|---|---|---|---|---|",
    ]
    ours = figures[0].records_per_s
    for figure in figures:
        cells = [
            figure.name,
            f"{figure.records_per_s:,.0f}",
            f"{figure.records_per_s / ours:.2f}x",
            *(_shown(value, ".1f") for value in (figure.cpu_us, figure.broker_cpu_us)),
            _shown(figure.rss_mb, ",.0f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(value: float, form: str) -> str:
    return format(value, form) if value == value else ""  # noqa: PLR0124 - NaN: not measured

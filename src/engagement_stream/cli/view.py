"""A snapshot as a person reads it in a terminal: pure, from the model to rich's renderables and to one plain line."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engagement_stream.api.live.models import Snapshot, StageLive

_TOP = 3
_BAR_CELLS = 24
_NAMES = {"http": "REST", "redis": "Redis", "bigquery": "BigQuery"}
_STYLES = {
    "running": "green",
    "halted": "bold red",
    "degraded": "bold red",
    "stalled": "bold red",
    "unreachable": "bold red",
}


def view(snapshot: Snapshot, *footer: str) -> RenderableType:
    """Stages, hottest contents, what is wrong; `footer` lines stand below."""
    parts: list[RenderableType] = [_verdict(snapshot), _stages(snapshot), Text()]
    parts.append(_contents(snapshot))
    parts += [Text(line, style="dim") for line in footer]
    return Group(*parts)


def nothing(reason: str, remedy: str) -> RenderableType:
    """Instead of the view while there is no snapshot."""
    return Text.assemble((reason, "bold red"), "\n", remedy)


def line(snapshot: Snapshot) -> str:
    """Everything that matters in one line, for where there is no terminal."""
    stages = ", ".join(_in_short(stage) for stage in snapshot.stages)
    wrong = snapshot.troubles[0].sentence if snapshot.troubles else "all is well"
    return f"{snapshot.at:%H:%M:%S} {snapshot.status}: {stages}; {wrong}"


def seconds(value: float | None) -> str:
    """`86 ms`, `1.9 s`, `12 s`."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _verdict(snapshot: Snapshot) -> Text:
    if not snapshot.troubles:
        return Text("\u2713 everything flows", style="green")
    worst, *others = snapshot.troubles
    more = f" (and {len(others)} more)" if others else ""
    style = "bold red" if snapshot.status == "down" else "yellow"
    return Text.assemble((f"! {worst.sentence}{more}", style), f"\n  {worst.remedy}" if worst.remedy else "")


def _stages(snapshot: Snapshot) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("stage")
    table.add_column("state")
    for title in ("rate", "waiting", "p50", "p99", "promise"):
        table.add_column(title, justify="right")
    for stage in snapshot.stages:
        latency = stage.latency if stage.promise_s is not None else None
        table.add_row(
            _name(stage),
            Text(stage.state, style=_STYLES.get(stage.state, "yellow")),
            _rate(stage.records_per_s),
            "" if stage.lag_records is None else f"{stage.lag_records:,}",
            "" if latency is None else seconds(latency.p50_s),
            "" if latency is None else _p99(latency.p99_s, stage.promise_s),
            "" if stage.promise_s is None else f"< {seconds(stage.promise_s)}",
        )
    return table


def _contents(snapshot: Snapshot) -> RenderableType:
    if snapshot.top is None:
        return Text("top content: Redis cannot be read now", style="yellow")
    if not snapshot.top:
        return Text(f"top content: nothing in the last {snapshot.window_minutes} minutes yet", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"top content, last {snapshot.window_minutes} min", max_width=44, no_wrap=True)
    table.add_column("events", justify="right")
    table.add_column("")
    most = max(content.events for content in snapshot.top) or 1
    for content in snapshot.top[:_TOP]:
        title = Text(content.title or content.slug or content.content_id)
        bar = Text("\u2588" * max(1, round(_BAR_CELLS * content.events / most)), style="cyan")
        table.add_row(title, f"{content.events:,}", bar)
    return table


def _p99(p99_s: float, promise_s: float | None) -> Text:
    over = promise_s is not None and p99_s > promise_s
    return Text(seconds(p99_s), style="yellow" if over else "")


def _name(stage: StageLive) -> str:
    name = _NAMES.get(stage.stage, stage.stage)
    return f"{name} x{stage.workers}" if stage.workers > 1 else name


def _rate(per_s: float | None) -> str:
    return "-" if per_s is None else f"{per_s:,.1f}/s" if 0 < per_s < 10 else f"{per_s:,.0f}/s"


def _in_short(stage: StageLive) -> str:
    figures = [stage.state, _rate(stage.records_per_s)]
    if stage.lag_records:
        figures.append(f"{stage.lag_records:,} waiting")
    if stage.promise_s is not None and stage.latency is not None:
        figures.append(f"p99 {seconds(stage.latency.p99_s)}")
    return f"{_name(stage)} {' '.join(figures)}"

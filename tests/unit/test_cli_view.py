"""The terminal's view of a snapshot, drawn into text."""

import io
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from engagement_stream.api.live.models import RecentLatency, Snapshot, SourceLive, StageLive, Trouble
from engagement_stream.api.models import TopContent
from engagement_stream.cli.view import line, seconds, view


def stage(name: str, **changes: Any) -> StageLive:
    """A running one."""
    values: dict[str, Any] = {
        "stage": name, "workers": 1, "state": "running", "records": 10, "records_per_s": 41.6, "lag_records": 1234,
        "canary_age_s": 3.0, "last_progress_s": 1.0, "latency": None, "promise_s": None, "guarantee": "",
        "dead_letters": 0, "retries": 0,
    }  # fmt: skip
    return StageLive(**(values | changes))


def snapshot(**changes: Any) -> Snapshot:
    """Two stages and four contents, all well."""
    latency = RecentLatency(p50_s=0.021, p99_s=0.086, count=50, window_s=10)
    titles = ["[bold]Markup[/bold]", "Second", None, "Fourth"]
    contents = [
        TopContent(
            rank=n,
            content_id=f"id-{n}",
            title=title,
            slug=None,
            content_type=None,
            events=50 - n,
            engagement_seconds=1,
        )
        for n, title in enumerate(titles)
    ]
    values: dict[str, Any] = {
        "at": datetime(2026, 1, 1, 12, 0, tzinfo=UTC), "status": "ok", "reason": "", "troubles": [],
        "source": SourceLive(phase="streaming", lsn="0/1", slot_lag_bytes=0),
        "stages": [stage("capture", lag_records=None), stage("redis", latency=latency, promise_s=0.1, workers=2)],
        "window_minutes": 10, "top": contents, "latest": [], "dead_letters": 0,
    }  # fmt: skip
    return Snapshot(**(values | changes))


def drawn(shown: Snapshot) -> str:
    """As on a screen 110 wide."""
    console = Console(width=110, file=io.StringIO())
    with console.capture() as captured:
        console.print(view(shown, "Ctrl-C ends it."))
    return captured.get()


def test_a_healthy_pipeline_in_a_few_calm_lines() -> None:
    """Figures with their promise; the first three contents; titles are text, never markup."""
    text = drawn(snapshot())
    assert "everything flows" in text
    assert "Redis x2" in text
    assert all(figure in text for figure in ("42/s", "1,234", "21 ms", "86 ms", "< 100 ms"))
    assert "[bold]Markup[/bold]" in text
    assert "id-2" in text
    assert "Fourth" not in text
    assert text.rstrip().endswith("Ctrl-C ends it.")


def test_what_is_wrong_comes_first_with_its_remedy() -> None:
    """And how much more there is."""
    trouble = Trouble(kind="halted", stage="redis", sentence="redis is halted: the fence is gone.", remedy="rebuild it")
    text = drawn(snapshot(status="degraded", troubles=[trouble, trouble], top=None))
    first, second = text.splitlines()[:2]
    assert first.rstrip() == "! redis is halted: the fence is gone. (and 1 more)"
    assert second.strip() == "rebuild it"
    assert "Redis cannot be read" in text


def test_one_line_says_all_that_matters() -> None:
    """For a log."""
    assert line(snapshot()) == (
        "12:00:00 ok: capture running 42/s, Redis x2 running 42/s 1,234 waiting p99 86 ms; all is well"
    )


def test_durations_are_short() -> None:
    """Two or three digits are enough."""
    assert [seconds(value) for value in (None, 0.0864, 1.94, 12.3)] == ["-", "86 ms", "1.9 s", "12 s"]

"""The switch for traces: a span a batch when OTEL_EXPORTER_OTLP_ENDPOINT is set, nothing at all otherwise.

Without it no call here does more than a comparison, and OpenTelemetry is not even imported. What the spans are is told
in `spans`.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from engagement_stream.settings import StageSettings

if TYPE_CHECKING:
    from engagement_stream.observe.spans import Spans

Positions = Mapping[int, tuple[int, int]]
"""Partition -> (first offset, offset after the last); of capture 0 -> LSNs of the slot."""

_spans: "Spans | None" = None


def configure_tracing(settings: StageSettings, stage: str, pipeline: str) -> None:
    """Once a process; `pipeline` (the Kafka prefix) keeps the traces of two pipelines apart."""
    global _spans  # noqa: PLW0603 - bound once, like the crash points
    if settings.otlp_endpoint:
        from engagement_stream.observe.spans import Spans, provider_to

        _spans = Spans(provider_to(settings.otlp_endpoint, stage), pipeline)


def now_ns() -> int:
    """When a batch begins."""
    return time.time_ns()


def tell_batch(
    name: str,
    began_ns: int,
    *,
    records: int = 0,
    commit_ts_us: Sequence[int] = (),
    positions: Positions | None = None,
    failed: str = "",
) -> None:
    """A batch of this stage is over; `commit_ts_us` are the source's commit times of its live events."""
    if _spans is not None:
        _spans.batch(name, began_ns, records, commit_ts_us, positions or {}, failed)


def tell_source_commits(commit_ts_us: Sequence[int]) -> None:
    """Capture has the events of these source commits in Kafka."""
    if _spans is not None:
        _spans.begin_traces(commit_ts_us)


def finish_tracing() -> None:
    """At the end of the process: send what is left."""
    if _spans is not None:
        _spans.close()

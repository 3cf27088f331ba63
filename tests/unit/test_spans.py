"""Traces are named by when the source committed, so that processes that never spoke to each other agree."""

import json
import time
from collections.abc import Callable, Iterator

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from engagement_stream.observe.log import configure_logging
from engagement_stream.observe.spans import SLOT_US, Spans, TraceIds, provider_to
from engagement_stream.settings import StageSettings
from engagement_stream.stack.ports import free_port

_T0_US = 1_750_000_000_000_000


class _Process:
    """A stage whose spans are kept."""

    def __init__(self, pipeline: str = "p", provider: TracerProvider | None = None) -> None:
        self.kept = InMemorySpanExporter()
        provider = provider or TracerProvider(id_generator=TraceIds())
        provider.add_span_processor(SimpleSpanProcessor(self.kept))
        self.spans = Spans(provider, pipeline)

    def batch(self, *commit_ts_us: int) -> ReadableSpan | None:
        """The span of a batch of these events; None when it is not sampled."""
        self.kept.clear()
        self.spans.batch("b", time.time_ns(), len(commit_ts_us), commit_ts_us, {0: (1, 5), 2: (7, 9)}, "")
        return next(iter(self.kept.get_finished_spans()), None)


def _trace(span: ReadableSpan | None) -> int:
    assert span is not None
    assert span.context is not None
    return int(span.context.trace_id)


def test_two_processes_agree_on_the_trace_of_an_event_and_two_pipelines_do_not() -> None:
    """By the moment of its commit alone; a batch of several moments is linked to the later ones."""
    enrich, sink, other = _Process(), _Process(), _Process("q")
    span = enrich.batch(_T0_US + 3 * SLOT_US, _T0_US)
    assert span is not None
    assert _trace(span) == _trace(sink.batch(_T0_US + 1)) != _trace(other.batch(_T0_US))
    assert [link.context.trace_id for link in span.links] == [_trace(sink.batch(_T0_US + 3 * SLOT_US))]
    assert (span.attributes or {})["engagement.positions"] == "0:1-5,2:7-9"
    for process in (enrich, sink, other):
        process.spans.close()


def test_capture_begins_each_trace_once() -> None:
    """Its root starts at the first commit, and every batch hangs below it."""
    capture = _Process()
    capture.spans.begin_traces([_T0_US + 2, _T0_US + 1, _T0_US + SLOT_US])
    capture.spans.begin_traces([_T0_US + 3])
    roots = capture.kept.get_finished_spans()
    assert [root.start_time for root in roots] == [(_T0_US + 1) * 1_000, (_T0_US + SLOT_US) * 1_000]
    below = capture.batch(_T0_US + 5)
    assert below is not None
    assert below.parent is not None
    assert roots[0].context is not None
    assert below.parent.span_id == roots[0].context.span_id
    capture.spans.close()


def test_every_stage_samples_the_same_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them here, whole: a trace of which some stages were left out would mislead."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    enrich, sink = _Process(), _Process()
    moments = [_T0_US + number * SLOT_US for number in range(64)]
    kept = {moment for moment in moments if enrich.batch(moment) is not None}
    assert kept == {moment for moment in moments if sink.batch(moment) is not None}
    assert 8 < len(kept) < 56
    for process in (enrich, sink):
        process.spans.close()


@pytest.fixture
def json_log(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, str]]]]:
    """What this process logs; afterwards it logs as before, since the captured stream ends with the test."""
    configure_logging(StageSettings(log_format="json"), stage="redis")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_collector_that_is_away_is_told_of_once_and_holds_up_nothing(
    json_log: Callable[[], list[dict[str, str]]],
) -> None:
    """The end of the process waits some seconds at most."""
    process = _Process(provider=provider_to(f"http://127.0.0.1:{free_port()}", "redis"))  # nobody listens there
    for _ in range(3):
        process.batch(_T0_US)
    began_s = time.monotonic()
    process.spans.close()
    assert time.monotonic() - began_s < 10
    lines = json_log()
    assert len(lines) <= 1, "it is told once, or not yet"
    assert all(line["event"].startswith("traces cannot be delivered") for line in lines)

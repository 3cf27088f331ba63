"""Spans of batches, joined across the stages by the moment at which the source committed.

No record carries a trace. What every stage knows of an event is when its source transaction committed, so that names
the trace: all commits of one tenth of a second are one trace, its id computed from that time in every process alike.
Its root `postgres.commit` begins at the first of them and ends when capture has it in Kafka; below it lie the batches
of every stage that hold such events. A batch belongs to the trace of its oldest event and is linked to the others.
"""

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision

from engagement_stream.observe.log import log
from engagement_stream.observe.tracing import Positions

SLOT_US = 100_000
"""Source commits within so many microseconds are one trace."""
_MOST_LINKS = 32
_REMEMBERED = 256
_FLUSH_S = 3.0
_EXPORT_TIMEOUT_S = 5.0


class Spans:
    """The spans of one stage process; used by one thread."""

    def __init__(self, provider: TracerProvider, pipeline: str) -> None:
        self._provider, self._pipeline = provider, pipeline
        self._tracer = provider.get_tracer("engagement_stream")
        self._begun: OrderedDict[int, None] = OrderedDict()

    def batch(
        self, name: str, began_ns: int, records: int, commit_ts_us: Sequence[int], positions: Positions, failed: str
    ) -> None:
        """A batch that ended now."""
        contexts = [self._root(slot) for slot in sorted({ts_us // SLOT_US for ts_us in commit_ts_us})]
        parent = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0])) if contexts else None
        span = self._tracer.start_span(
            name,
            parent,
            links=[trace.Link(context) for context in contexts[1 : _MOST_LINKS + 1]],
            start_time=began_ns,
            attributes={
                "engagement.records": records,
                "engagement.positions": ",".join(f"{p}:{a}-{b}" for p, (a, b) in sorted(positions.items())),
            },
        )
        if failed:
            span.set_status(trace.StatusCode.ERROR, failed)
        span.end()

    def begin_traces(self, commit_ts_us: Sequence[int]) -> None:
        """The roots of these commits' traces, each once."""
        first_us: dict[int, int] = {}
        for ts_us in commit_ts_us:
            slot = ts_us // SLOT_US
            first_us[slot] = min(first_us.get(slot, ts_us), ts_us)
        for slot, ts_us in first_us.items():
            if slot in self._begun:
                continue
            self._begun[slot] = None
            if len(self._begun) > _REMEMBERED:
                self._begun.popitem(last=False)
            ids = self._provider.id_generator
            assert isinstance(ids, TraceIds)
            ids.next_trace, ids.next_span = _trace_id(self._pipeline, slot), _root_id(self._pipeline, slot)
            self._tracer.start_span("postgres.commit", start_time=ts_us * 1_000).end()

    def close(self) -> None:
        """Send what is left; bounded, since a collector that is away must not hold up the stage's end."""
        last = threading.Thread(target=self._provider.shutdown, name="last-traces", daemon=True)
        last.start()
        last.join(_FLUSH_S)

    def _root(self, slot: int) -> trace.SpanContext:
        """Sampled or not is decided by the id alone (OTEL_TRACES_SAMPLER), so every process decides alike."""
        trace_id = _trace_id(self._pipeline, slot)
        verdict = self._provider.sampler.should_sample(None, trace_id, "postgres.commit").decision
        sampled = verdict is Decision.RECORD_AND_SAMPLE
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else trace.TraceFlags.DEFAULT)
        return trace.SpanContext(trace_id, _root_id(self._pipeline, slot), is_remote=True, trace_flags=flags)


def provider_to(endpoint: str, stage: str) -> TracerProvider:
    """Sends to an OTLP/HTTP collector; the other OTEL_... variables count as the SDK says."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what is worth telling, _ToldOnce tells
    resource = Resource.create({"service.namespace": "engagement-stream", "service.name": f"engagement-{stage}"})
    provider = TracerProvider(resource=resource, id_generator=TraceIds())
    exporter = OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces", timeout=_EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(_ToldOnce(exporter)))
    return provider


class TraceIds(RandomIdGenerator):
    """Random ids, or for once the ones that were asked for."""

    next_trace: int | None = None
    next_span: int | None = None

    def generate_trace_id(self) -> int:
        wanted, self.next_trace = self.next_trace, None
        return super().generate_trace_id() if wanted is None else wanted

    def generate_span_id(self) -> int:
        wanted, self.next_span = self.next_span, None
        return super().generate_span_id() if wanted is None else wanted


class _ToldOnce(SpanExporter):
    """One line when the collector begins to fail and one when it works again, instead of one for each batch."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing != self._failing:
            self._failing = failing
            if failing:
                log().warning("traces cannot be delivered; they are dropped, events are not")
            else:
                log().info("traces are delivered again")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _trace_id(pipeline: str, slot: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{pipeline}/{slot}".encode(), digest_size=16).digest())


def _root_id(pipeline: str, slot: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"root/{pipeline}/{slot}".encode(), digest_size=8).digest())

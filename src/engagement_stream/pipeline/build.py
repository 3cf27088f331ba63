"""From a stage's name to the stage; the only place that knows them all."""

import threading
from typing import Protocol

from engagement_stream.errors import ConfigurationError
from engagement_stream.observe.metrics import StageMetrics
from engagement_stream.observe.status import StageStatus
from engagement_stream.pipeline.memory import without_numpy
from engagement_stream.settings import Settings
from engagement_stream.sinks.base import Sink

SINKS = ("redis", "bigquery", "http")
STAGES = ("capture", "enrich", *SINKS)


class Stage(Protocol):
    """Runs until `stop` is set, then drains; raises Fatal when going on would lose or double something."""

    def run(self, stop: threading.Event) -> None: ...


def build_stage(name: str, settings: Settings, status: StageStatus, metrics: StageMetrics) -> Stage:
    """The stage called `name`. Imports are local: a process loads only the clients it needs."""
    if name == "capture":
        from engagement_stream.capture.stage import CaptureStage

        return CaptureStage(settings.postgres, settings.kafka, status, metrics)
    if name == "enrich":
        from engagement_stream.enrich.stage import EnrichStage

        return EnrichStage(settings.kafka, status, metrics, settings.stage.worker)
    from engagement_stream.sinks.replays import WithReplays
    from engagement_stream.sinks.runner import SinkStage

    sink, replays = _build_sinks(name, settings)
    worker = settings.stage.worker
    main = SinkStage(sink, settings.kafka, status, metrics, worker=worker)
    return WithReplays(main, replays, settings.kafka, status, worker)


def _build_sinks(name: str, settings: Settings) -> tuple[Sink, Sink]:
    """The sink itself, and the one for its replayed dead letters."""
    if name == "redis":
        from engagement_stream.sinks.redis import RedisSink

        return RedisSink(settings.redis), RedisSink(settings.redis, replays=True)
    if name == "bigquery":
        with without_numpy():
            from engagement_stream.sinks.bigquery import BigQueryReplays, BigQuerySink

        return BigQuerySink(settings.bigquery), BigQueryReplays(settings.bigquery, settings.postgres)
    if name == "http":
        from engagement_stream.sinks.http import HttpSink

        source = settings.kafka.enriched_topic
        return HttpSink(settings.http), HttpSink(settings.http, source_topic=source)
    raise ConfigurationError(f"there is no stage {name!r}; there are {', '.join(STAGES)}")


def enabled_stages(settings: Settings) -> list[str]:
    """Stages to run, in the order of the flow; the REST sink only where it has somewhere to send to."""
    wanted = [part.strip() for part in settings.stage.sinks.split(",")]
    sinks = [name for name in SINKS if name in wanted and (name != "http" or settings.http.url is not None)]
    return ["capture", "enrich", *sinks]

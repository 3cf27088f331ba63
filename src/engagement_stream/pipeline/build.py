"""From a stage's name to the stage; the only place that knows them all."""

import threading
from typing import Protocol

from engagement_stream.errors import ConfigurationError
from engagement_stream.observe.metrics import StageMetrics
from engagement_stream.observe.status import StageStatus
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
    from engagement_stream.sinks.runner import SinkStage

    sink = _build_sink(name, settings)
    return SinkStage(sink, settings.kafka, status, metrics, worker=settings.stage.worker)


def _build_sink(name: str, settings: Settings) -> Sink:
    if name == "redis":
        from engagement_stream.sinks.redis import RedisSink

        return RedisSink(settings.redis)
    if name == "bigquery":
        from engagement_stream.sinks.bigquery import BigQuerySink

        return BigQuerySink(settings.bigquery)
    if name == "http":
        from engagement_stream.sinks.http import HttpSink

        return HttpSink(settings.http)
    raise ConfigurationError(f"there is no stage {name!r}; there are {', '.join(STAGES)}")


def enabled_stages(settings: Settings) -> list[str]:
    """Stages to run, in the order of the flow; the REST sink only where it has somewhere to send to."""
    wanted = [part.strip() for part in settings.stage.sinks.split(",")]
    sinks = [name for name in SINKS if name in wanted and (name != "http" or settings.http.url is not None)]
    return ["capture", "enrich", *sinks]

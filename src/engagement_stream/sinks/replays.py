"""Brings dead letters back to a sink: a second runner in the sink's process, with its own group, fence and client.

Beside the main one and not in it: a replay that waits for its receiver must not hold back what is new. Idle, it is a
consumer whose fetches the brokers answer every five seconds.
"""

import contextvars
import threading
from collections.abc import Sequence

import structlog

from engagement_stream.backoff import Backoff, Patience
from engagement_stream.broker.retry import replays_of
from engagement_stream.errors import EngagementError, Fatal
from engagement_stream.observe.log import log
from engagement_stream.observe.metrics import StageMetrics
from engagement_stream.observe.status import StageStatus
from engagement_stream.settings import KafkaSettings
from engagement_stream.sinks.base import Sink
from engagement_stream.sinks.runner import SinkStage

_END_S = 30.0


class ReplayMetrics(StageMetrics):
    """As any stage's; only how long a letter lay in its queue says nothing about how fast the sink is."""

    def durable(self, records: int, commit_ts_us: Sequence[int] = ()) -> None:
        del commit_ts_us
        super().durable(records)


class WithReplays:
    """A sink's stage and, in a thread beside it, the one that brings its replays."""

    def __init__(
        self, main: SinkStage, sink: Sink, kafka: KafkaSettings, status: StageStatus, worker: int | None = None
    ) -> None:
        self._main = main
        self._status = status.of_replays()
        self._patience = Patience(Backoff(base_s=1.0, cap_s=30.0))
        self._replays = SinkStage(
            sink, kafka, self._status, ReplayMetrics(replays_of(sink.name)), worker=worker, replays=True
        )

    def run(self, stop: threading.Event) -> None:
        """Both, until `stop` is set or the main one ends, by whatever it raises."""
        end = threading.Event()
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._run_replays, end), name="replays", daemon=True)
        thread.start()
        try:
            self._main.run(stop)
        finally:
            end.set()
            thread.join(_END_S)

    def _run_replays(self, end: threading.Event) -> None:
        """The main stage goes on whatever happens here; /health tells what does."""
        structlog.contextvars.bind_contextvars(lane="replays")
        while not end.is_set():
            try:
                self._replays.run(end)
            except Fatal as error:
                self._status.halted(str(error), error.remedy)
                end.wait()
            except EngagementError as error:
                self._again(str(error), end)
            except Exception as error:  # noqa: BLE001 - a defect here must not stop what is new
                log().exception("replays ended unexpectedly")
                self._again(f"they end unexpectedly ({type(error).__name__}), see the log", end)

    def _again(self, reason: str, end: threading.Event) -> None:
        self._status.waiting(reason)
        end.wait(self._patience.next_wait_s())

"""The stage: attempts, one after another, with a wait between them, until it is told to stop or must not go on."""

import threading

from engagement_stream.backoff import Backoff, Patience
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.broker.transaction import Outbox, outbox
from engagement_stream.capture.connect import Client
from engagement_stream.capture.copying import CopySession
from engagement_stream.capture.opening import open_capture
from engagement_stream.capture.slot_watch import SlotWatch
from engagement_stream.capture.streaming import Streaming
from engagement_stream.errors import Fenced, Retry, TransactionLost
from engagement_stream.observe.metrics import REOPENED, RETRIES, StageMetrics
from engagement_stream.observe.status import StageStatus
from engagement_stream.settings import KafkaSettings, PostgresSettings

_BACKOFF = Backoff(base_s=0.1, cap_s=10.0)


class _Stopped(Exception):
    pass


class CaptureStage:
    """PostgreSQL to Kafka. One process per slot; a second one takes over from the first."""

    def __init__(
        self, postgres: PostgresSettings, kafka: KafkaSettings, status: StageStatus, metrics: StageMetrics
    ) -> None:
        self._postgres, self._kafka = postgres, kafka
        self._status, self._metrics = status, metrics
        self._client = Client(postgres)
        self._slot_watch = SlotWatch(postgres, status)
        self._opened_before = False
        self._patience = Patience(_BACKOFF)
        self._copy_session: CopySession | None = None

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. Raises Fatal when going on would lose something, Fenced when another process took over."""
        out = outbox(self._kafka, self._kafka.group(f"capture-{self._postgres.slot}"))
        try:
            while not stop.is_set():
                try:
                    self._attempt(out, stop)
                except Fenced:
                    raise
                except _Stopped:
                    return
                except TransactionLost as lost:
                    REOPENED.labels("capture").inc()
                    self._status.detail(last_reopen=str(lost))
                    self._wait(f"Kafka: {lost}", stop)
                except Retry as reason:
                    self._wait(str(reason), stop)
        finally:
            self._status.stopping()
            out.close()
            if self._copy_session is not None:
                self._copy_session.close()

    def _attempt(self, out: Outbox, stop: threading.Event) -> None:
        ensure_topics(self._kafka)

        def waiting(blocker: str) -> None:
            if stop.is_set():
                raise _Stopped
            if blocker:
                self._status.waiting(f"the replication slot cannot be made before this ends: {blocker}")

        opened = open_capture(self._client, self._kafka, out, self._copy_session, waiting, again=self._opened_before)
        self._opened_before = True
        streaming = Streaming(opened, out, self._postgres, self._kafka, self._status, self._metrics)
        try:
            streaming.run(stop)
        finally:
            if streaming.moved:
                self._patience.begin_anew()
            self._copy_session = opened.copy_session
            opened.close()

    def _wait(self, reason: str, stop: threading.Event) -> None:
        RETRIES.labels("capture").inc()
        wait_s = self._patience.next_wait_s()
        self._status.waiting(reason)
        self._slot_watch.look()
        stop.wait(wait_s)

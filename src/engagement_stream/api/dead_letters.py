"""The dead-letter queue for the API: looked at now and then in a thread, and whenever somebody asks."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from engagement_stream.api.problems import ApiError
from engagement_stream.dlq.handling import Handling, TakenOver
from engagement_stream.dlq.queue import Queue, Summary
from engagement_stream.errors import ConfigurationError, EngagementError, Fatal
from engagement_stream.settings import KafkaSettings

_LOOK_EVERY_S = 10.0
_OPEN: Final = "engagement_dlq_open"
LABELS: Final = {
    _OPEN: ("stage", "reason"),
    "engagement_dlq_replayed": ("stage",),
    "engagement_dlq_discarded": ("stage",),
}
"""Family -> labels: a family without samples tells them nowhere else."""
T = TypeVar("T")


class DeadLetterDesk(Collector):
    """Owns the queue's index. As a collector it tells the counts of the last look, and nothing before the first."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.queue = Queue(kafka)
        self.handling = Handling(kafka, self.queue)
        self._seen: Summary | None = None
        self._stop = threading.Event()

    def watch(self) -> None:
        """Look every ten seconds until `close`, so that metrics and summary are there before anybody asks."""
        threading.Thread(target=self._watch, name="dead letters", daemon=True).start()

    def close(self) -> None:
        """The index goes with the process."""
        self._stop.set()

    def look(self) -> Summary:
        """As of now. Raises Retry, Fatal."""
        self.queue.follow()
        self._seen = self.queue.summary()
        return self._seen

    async def ask(self, call: Callable[[], T]) -> T:
        """Run in a thread, after a look; every trouble becomes an answer."""

        def answer() -> T:
            self.look()
            return call()

        try:
            return await asyncio.to_thread(answer)
        except ConfigurationError as error:
            raise ApiError(
                422, f"This request cannot be understood: {error}.", "Correct it and send it again."
            ) from error
        except TakenOver as error:
            raise ApiError(409, f"{error}.", "Look at the queue, then send the same request again.") from error
        except EngagementError as error:
            raise ApiError(
                503,
                f"The dead-letter queue cannot be read now: {error}.",
                error.remedy if isinstance(error, Fatal) else "Ask again. If it stays so, see whether Kafka runs.",
                {"Retry-After": "2"},
            ) from error

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        opened: dict[tuple[str, str], int] = {}
        handled: dict[str, dict[str, int]] = {"replayed": {}, "discarded": {}}
        for (stage, reason, state), count in (self._seen.counts if self._seen else {}).items():
            # 0 stays, where the last letter was handled: an alert has to see it go.
            opened[stage, reason] = opened.get((stage, reason), 0) + (count if state == "open" else 0)
            if state in handled:
                handled[state][stage] = handled[state].get(stage, 0) + count
        gauge = GaugeMetricFamily(_OPEN, "Letters in the dead-letter queue that nobody handled.", labels=LABELS[_OPEN])
        for labels, count in opened.items():
            gauge.add_metric(labels, count)
        yield gauge
        for state, by_stage in handled.items():
            name = f"engagement_dlq_{state}"
            family = CounterMetricFamily(name, f"Dead letters that were {state}.", labels=LABELS[name])
            for stage, count in by_stage.items():
                family.add_metric([stage], count)
            yield family

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except EngagementError:
                self._seen = None  # what is not known is not told
            self._stop.wait(_LOOK_EVERY_S)

"""Past days into the REST system on a lane of its own: by id, batch by batch, each frozen before it is first sent.

At least once, as live delivery is, with the same event ids.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice

from engagement_stream.backfill.lane_progress import LaneProgress, LaneState
from engagement_stream.backfill.pace import Pace
from engagement_stream.backfill.progress import Read, Report, Tell
from engagement_stream.backoff import Patience
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import ConfigurationError, Fatal, Retry
from engagement_stream.settings import HttpSettings
from engagement_stream.sinks.http.answer import Delivered, Hold, Later, Refused, TooLarge, Verdict, judge
from engagement_stream.sinks.http.endpoint import Endpoint
from engagement_stream.sinks.http.plan import Plan, batch_length
from engagement_stream.sinks.http.request import ENVELOPE_BYTES, Headers, HttpEvent, batch_body, idempotency_key

_MAX_BODY_BYTES = 4 << 20
_PATIENCE_S = 300.0
_LOOK_EVERY_S = 0.2
Outgoing = tuple[bytes, HttpEvent]
"""The event's data, and what its envelope tells."""


def lane_key(url: str, range_name: str) -> str:
    """What the progress lies under."""
    return f"http/{range_name}/{hashlib.sha256(url.encode()).hexdigest()[:12]}"


class RestLane:
    """`topic` stands in each event's `source`, as it does for live ones; `range_name` in the batches' keys."""

    def __init__(
        self,
        settings: HttpSettings,
        topic: str,
        range_name: str,
        report: Report,
        tell: Tell,
        stopped: Callable[[], bool],
        pace: Pace,
        *,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        if settings.url is None:
            raise ConfigurationError("EXTERNAL_API_URL is empty: there is nowhere to send to.")
        url = settings.url.get_secret_value()
        secret, token = settings.secret.get_secret_value(), settings.token.get_secret_value()
        self._headers = Headers(url=url, secret=secret, token=token)
        self._endpoint = Endpoint(url, connections=1, timeout_s=settings.timeout_s, hidden=(secret, token))
        self._batch_size = settings.batch_size
        self._topic, self._name = topic, f"backfill-{range_name}"
        self._report, self._tell, self._stopped, self._patience_s = report, tell, stopped, patience_s
        self._pace = pace
        self.key = lane_key(url, range_name)

    def send(self, events: Iterator[Outgoing], progress: LaneProgress, state: LaneState) -> None:
        """Deliver `events`, which follow `state.after` in the order of their ids. Raises Retry, Fatal."""
        waiting: list[Outgoing] = []
        while not self._stopped():
            waiting += islice(events, max(self._batch_size - len(waiting), 0))
            while state.through is not None and waiting and waiting[-1][1].event_id < state.through:
                more = list(islice(events, self._batch_size))  # frozen with a larger BATCH_SIZE
                waiting += more
                if not more:
                    break
            if not waiting:
                progress.forget()
                return
            through = state.through
            if through is None:
                count = batch_length([len(d) + ENVELOPE_BYTES for d, _ in waiting], self._batch_size, _MAX_BODY_BYTES)
                through = waiting[count - 1][1].event_id
            batch = [event for event in waiting if event[1].event_id <= through]
            self._pace.turn(len(batch))
            if batch and (settled := self._deliver(batch, progress, state.after)) is not None:
                state = LaneState(after=settled)
            elif batch:
                return  # stopped: the frozen batch is the next run's
            else:
                state = LaneState(after=through)  # its events were deleted meanwhile
            waiting = [event for event in waiting if state.after is None or event[1].event_id > state.after]

    def close(self) -> None:
        self._endpoint.close()

    def _deliver(self, batch: list[Outgoing], progress: LaneProgress, after: int | None) -> int | None:
        """Freeze and send the batch, or the part of it that is taken; the last id settled, None when stopped."""
        while True:
            last = batch[-1][1].event_id
            progress.write(LaneState(after=after, through=last))
            verdict = self._until_judged(batch, after or 0)
            if verdict is None:
                return None
            if isinstance(verdict, Delivered):
                self._report.inserted += len(batch)
                self._report.read += len(batch)
                self._tell(Read(len(batch)))
                return last
            if len(batch) == 1:
                assert isinstance(verdict, TooLarge | Refused)
                self._report.leave_out([(last, f"the endpoint answered {verdict.detail[:100]}")])
                return last
            batch = batch[: len(batch) // 2]

    def _until_judged(self, batch: list[Outgoing], after: int) -> Verdict | None:
        """Send until the answer says something about the batch; None when stopped. Raises Retry, Fatal."""
        body = batch_body(self._topic, batch)
        key = idempotency_key(self._name, 0, Plan(after, batch[-1][1].event_id, history=True), body)
        patience, deadline_s = Patience(), time.monotonic() + self._patience_s
        while True:
            crash_point("backfill.before_send")
            try:
                verdict = judge(self._endpoint.post(body, self._headers.of(key, body, time.time())), datetime.now(UTC))
            except Retry as reason:
                verdict = Later(str(reason), reason.after_s)
            crash_point("backfill.after_answer")
            if isinstance(verdict, Hold):
                raise Fatal(verdict.reason, remedy="mend that and run the same command: it goes on from here")
            if not isinstance(verdict, Later):
                return verdict
            wait_s = verdict.after_s or patience.next_wait_s()
            if time.monotonic() + wait_s > deadline_s:
                raise Retry(f"{verdict.reason}; run the same command later: it goes on from here")
            until_s = time.monotonic() + wait_s
            while time.monotonic() < until_s:
                if self._stopped():
                    return None
                time.sleep(min(_LOOK_EVERY_S, wait_s))

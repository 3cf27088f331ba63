"""The HTTP sink: at-least-once delivery with everything a receiver needs to make the effect exactly once.

1. Freeze: one commit writes, for every partition at once, what is settled and what is sent next (`plan`).
2. Send: each partition's batch in parallel; within a partition one batch at a time, in order.
3. Settle by the answer (`answer`): delivered and dead-lettered move the position, anything else leaves the plan.
4. The commit that settles is the one that freezes the next; the last of a write freezes nothing.

Whoever comes after us, also after SIGKILL, finds the plan and sends the same bytes under the same key first. A twin
that was frozen and wakes up can send no more than the plans it had, and those are its successor's too.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import urlsplit

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import ConfigurationError, Retry
from engagement_stream.model.engagement import LIVE
from engagement_stream.settings import HttpSettings
from engagement_stream.sinks.base import Checkpoint, Gather, Receipt, Road, Slice
from engagement_stream.sinks.http.answer import Delivered, Hold, Later, Refused, TooLarge, Verdict, judge
from engagement_stream.sinks.http.caution import REFUSALS_IN_A_ROW, Caution
from engagement_stream.sinks.http.endpoint import Endpoint
from engagement_stream.sinks.http.lane import STAGE, Lane, Limits
from engagement_stream.sinks.http.plan import planned
from engagement_stream.sinks.http.request import Headers, batch_body, idempotency_key

_CONNECTIONS = 8
_MAX_BODY_BYTES = 4 << 20
_LINGER_S = 0.1
_WRITE_S = 5.0
"""A write returns after this time with what it has, so that rebalances and Ctrl-C are served."""
_LONGEST_REQUEST_S = 240.0
"""Below the consumer's max.poll.interval: a longer request would cost us the partitions."""
_HOLD_S = 30.0


class HttpSink:
    """Implements `sinks.base.Sink`; `hold_s` is the time between two attempts while a person is needed.

    `source_topic` is the topic that events are said to come from, where it is not the one they are read from: a
    replayed dead letter is the same event, and (source, id) is what names an event.
    """

    name = STAGE

    def __init__(self, settings: HttpSettings, *, hold_s: float = _HOLD_S, source_topic: str | None = None) -> None:
        self._source_topic = source_topic
        if settings.url is None:
            raise ConfigurationError("EXTERNAL_API_URL is empty: the http sink has nowhere to send to.")
        url, secret, token = (
            settings.url.get_secret_value(),
            settings.secret.get_secret_value(),
            settings.token.get_secret_value(),
        )
        if not (token.isascii() and token.isprintable()):
            raise ConfigurationError("EXTERNAL_API_TOKEN holds a character that no HTTP header may hold.")
        try:
            self._headers = Headers(url=url, secret=secret, token=token)
        except ValueError as error:
            raise ConfigurationError("EXTERNAL_API_SECRET must be whsec_ and base64 (Standard Webhooks).") from error
        self._endpoint = Endpoint(
            url,
            connections=_CONNECTIONS,
            timeout_s=min(settings.timeout_s, _LONGEST_REQUEST_S),
            hidden=(secret, token, urlsplit(url).password or ""),
        )
        self._pool: ThreadPoolExecutor | None = None
        self._settings = settings
        self._hold_s = hold_s
        self._max_body_bytes = _MAX_BODY_BYTES
        self._caution = Caution()
        self._lanes: dict[int, Lane] = {}
        self._road: Road | None = None
        self._records = 0
        self._commit_ts_us: list[int] = []

    @property
    def gather(self) -> Gather:
        """Several batches of each partition, so that one commit settles one and freezes the next."""
        return Gather(max_records=min(max(self._settings.batch_size * 16, 500), 20_000), linger_s=_LINGER_S)

    def open(self, partitions: Sequence[int], road: Road) -> Mapping[int, int]:
        """Deliver what was frozen and not settled, then go on from there."""
        self._forget()
        self._road = road
        lanes = {}
        for partition, point in road.committed(partitions).items():
            if point is None:  # nothing was ever sent: all that the log still holds is new
                point = Checkpoint(road.begins_at([partition])[partition])  # noqa: PLW2901 - the default of it
            lanes[partition] = Lane(road.topic, partition, point, planned(point))
        frozen = [lane for lane in lanes.values() if lane.plan is not None]
        for lane in frozen:
            lane.offer(_read_again(road, lane))
        self._lanes = lanes
        self._deliver(frozen, only_frozen=True)
        if any(lane.plan is not None for lane in frozen):
            raise self._not_now()
        return {partition: lane.position for partition, lane in lanes.items()}

    def write(self, slices: Sequence[Slice]) -> Receipt:
        """Send the slices batch by batch; returns what was settled when the endpoint fails in the middle."""
        lanes = [self._lanes[piece.partition] for piece in slices]
        for lane, piece in zip(lanes, slices, strict=True):
            lane.offer(piece)
        self._deliver(lanes)
        durable = {lane.partition: lane.committed.offset for lane in lanes}
        if all(durable[piece.partition] <= piece.prev for piece in slices):
            raise self._not_now()
        receipt = Receipt(durable, self._records, self._commit_ts_us)
        self._records, self._commit_ts_us = 0, []
        return receipt

    def close(self) -> None:
        """Drop connections and what is in memory; plans stay in Kafka."""
        self._forget()
        self._endpoint.close()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _forget(self) -> None:
        self._lanes = {}
        self._road = None
        self._records, self._commit_ts_us = 0, []

    def _not_now(self) -> Retry:
        rest_s = self._caution.rest_s(time.monotonic())
        return Retry(self._caution.reason or "the endpoint is slow", after_s=rest_s or None)

    def _deliver(self, lanes: Sequence[Lane], *, only_frozen: bool = False) -> None:
        """Rounds of freeze, send, settle; ends when all is sent, at a failure, or when it takes long."""
        if self._caution.rest_s(time.monotonic()) > 0:
            return
        until_s = time.monotonic() + _WRITE_S
        taking = True
        while True:
            going = taking and time.monotonic() < until_s
            if going:
                limits = Limits(self._settings.batch_size, self._max_body_bytes, self._settings.send_history)
                for lane in lanes:
                    lane.prepare(None if only_frozen else limits)
            self._commit(lanes)
            ready = [lane for lane in lanes if lane.plan is not None]
            if not going or not ready:
                return
            if self._caution.probing:
                ready = [ready[self._caution.turn(len(ready))]]
            answered = sorted(zip(ready, self._send_all(ready), strict=True), key=_successes_first)
            for lane, verdict in answered:
                taking = self._apply(lane, verdict) and taking

    def _commit(self, lanes: Sequence[Lane]) -> None:
        """Letters first, then all positions and plans in one commit; what is unchanged costs nothing."""
        assert self._road is not None
        letters = [letter for lane in lanes for letter in lane.letters]
        if letters:
            crash_point("http.before_dead_letter")
            self._road.dead_letter(letters)
            crash_point("http.after_dead_letter")
            for lane in lanes:
                lane.letters = []
        changed = {lane.partition: point for lane in lanes if (point := lane.desired()) != lane.committed}
        if not changed:
            return
        crash_point("http.before_commit")
        self._road.commit(changed)
        crash_point("http.after_commit")
        for lane in lanes:
            lane.committed = changed.get(lane.partition, lane.committed)

    def _send_all(self, lanes: Sequence[Lane]) -> list[Verdict]:
        if len(lanes) == 1:
            return [self._send(lanes[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="http-send")
        return list(self._pool.map(self._send, lanes))

    def _send(self, lane: Lane) -> Verdict:
        """One attempt; runs in a thread of the pool."""
        assert self._road is not None
        assert lane.plan is not None
        topic = self._road.topic
        body = batch_body(self._source_topic or topic, [(value, event) for _, value, event in lane.batch])
        key = idempotency_key(topic, lane.partition, lane.plan, body)
        crash_point("http.before_send")
        try:
            answer = self._endpoint.post(body, self._headers.of(key, body, time.time()))
        except Retry as reason:
            return Later(str(reason), reason.after_s)
        crash_point("http.after_answer")
        return judge(answer, datetime.now(UTC))

    def _apply(self, lane: Lane, verdict: Verdict) -> bool:
        """Carry out what the answer means; whether the endpoint goes on taking requests."""
        match verdict:
            case Delivered():
                self._caution.delivered()
                sent = lane.settle()
                self._records += len(sent)
                self._commit_ts_us += [event.commit_ts_us for _, _, event in sent if event.source == LIVE]
                return True
            case TooLarge() | Refused():
                return self._isolate(lane, verdict)
            case Later(reason, after_s):
                self._caution.failed(reason, after_s, time.monotonic())
                return False
            case Hold(reason):
                self._caution.failed(reason, self._hold_s, time.monotonic())
                return False

    def _isolate(self, lane: Lane, verdict: TooLarge | Refused) -> bool:
        refused = isinstance(verdict, Refused)
        if len(lane.batch) > 1:
            if not refused:
                self._max_body_bytes = max(lane.batch_bytes() // 2, 1)
            lane.halve(suspect=refused)
            return True
        if self._caution.may_dead_letter():
            lane.refuse("refused" if refused else "too large", verdict.detail)
            return True
        status = verdict.detail[:3]
        self._caution.failed(
            f"the endpoint refused {REFUSALS_IN_A_ROW} single events in a row with {status} and took none between "
            "them: check EXTERNAL_API_URL and what the receiver expects; nothing more is dead-lettered until it takes "
            "one (if the events are at fault, restarting this stage sets the next ones aside)",
            self._hold_s,
            time.monotonic(),
        )
        return False


def _successes_first(answered: tuple[Lane, Verdict]) -> bool:
    """A success must not wipe out the rest that another answer of the same round asked for."""
    return not isinstance(answered[1], Delivered)


def _read_again(road: Road, lane: Lane) -> Slice:
    """The frozen batch's records out of the log."""
    plan = lane.plan
    assert plan is not None
    offsets: list[int] = []
    values: list[bytes] = []
    crash_point("http.before_read")
    for message in road.read(lane.partition, plan.start, plan.end):
        offsets.append(message.offset() or 0)
        values.append(message.value() or b"")
    crash_point("http.after_read")
    return Slice(lane.partition, plan.start, plan.end, offsets, values)

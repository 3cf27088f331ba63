"""The BigQuery sink: appends at offsets to a write stream of its own per partition; the stream is the fence.

- Opening takes over (`takeover`): the former stream is finalized, its row count leads to the true position.
- Writing cuts the slices into frames, one row per record (`rows`, `frame`), dead-letters what cannot be a row, appends
  all partitions' frames at once and waits for the answers (`stream`, `lane`).
- An answer that was lost leaves its frame as it is: the same bytes go to the same offset again. ALREADY_EXISTS then
  means that they are there. A process that does not remember having sent them believes no such answer: it opens.
- The group offset is committed with {stream, rows} beside it, always. It may lag: the stream knows better.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import grpc

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Reopen, Retry
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.base import Gather, Receipt, Road, Slice
from engagement_stream.sinks.bigquery.client import WriteChannel, uses_emulator
from engagement_stream.sinks.bigquery.errors import Answer
from engagement_stream.sinks.bigquery.lane import Lane
from engagement_stream.sinks.bigquery.rows import STAGE
from engagement_stream.sinks.bigquery.stream import Connection
from engagement_stream.sinks.bigquery.takeover import Takeover

_MAX_RECORDS = 4_000
"""A thousand more cost some 4 MB and save nothing that can be measured."""
_ANSWER_S = 20.0
_IDLE_S = 300.0
"""A connection unused for longer is made anew: the service closes it after ten minutes."""


class BigQuerySink:
    """Implements `sinks.base.Sink`; `answer_s` is how long an append may take before its outcome is unknown."""

    name = STAGE

    def __init__(self, settings: BigQuerySettings, *, answer_s: float = _ANSWER_S) -> None:
        self._settings = settings
        self._answer_s = answer_s
        # The emulator keeps a thread for every open connection and has few: it gets one per write.
        self._keep_s = 0.0 if uses_emulator(settings) else _IDLE_S
        self._channel: WriteChannel | None = None
        self._road: Road | None = None
        self._lanes: dict[int, Lane] = {}
        self._connections: dict[int, Connection] = {}
        self._failed_before = False

    @property
    def gather(self) -> Gather:
        return Gather(max_records=_MAX_RECORDS, linger_s=self._settings.interval_s)

    def open(self, partitions: Sequence[int], road: Road) -> Mapping[int, int]:
        """Fence the former owners and begin streams of our own; see `takeover`."""
        self._forget()
        try:
            self._lanes = Takeover(self._settings, self._reached(), road).lanes(partitions)
        except Retry:
            self._disconnect()
            raise
        self._road = road
        return {partition: lane.position for partition, lane in self._lanes.items()}

    def write(self, slices: Sequence[Slice]) -> Receipt:
        """Append the slices; what is under way from an earlier call goes first, unchanged."""
        road = self._road
        if road is None:
            raise Reopen("the BigQuery sink is not open")
        lanes = [self._lanes[piece.partition] for piece in slices]
        now = datetime.now(UTC)
        for lane, piece in zip(lanes, slices, strict=True):
            lane.offer(piece, now)
        appended = any(lane.frames for lane in lanes)
        problem = self._deliver(lanes)
        durable = {lane.partition: lane.position for lane in lanes}
        progressed = any(durable[piece.partition] > piece.prev for piece in slices)
        if problem and (not progressed or self._failed_before):
            # What did arrive is remembered by the lanes and told by the next receipt.
            self._failed_before = True
            raise Retry(problem)
        self._failed_before = bool(problem)
        # Rows are known to their stream; a position that only moved past markers is known to nobody but Kafka.
        crash_point("bigquery.before_commit")
        try:
            # Waited for: an unwaited one that arrives after the next opening's would name a stream that is finalized,
            # and the rows of the newer stream would be written again.
            road.commit({lane.partition: lane.checkpoint() for lane in lanes})
        except Retry:
            if not appended:
                raise
        crash_point("bigquery.after_commit")
        delivered = [lane.take_delivered() for lane in lanes]
        return Receipt(
            durable, sum(records for records, _ in delivered), [ts for _, all_ts in delivered for ts in all_ts]
        )

    def close(self) -> None:
        """Drop connections and what is in memory. The streams stay open: finalizing them is the successor's."""
        self._forget()
        self._disconnect()

    def _forget(self) -> None:
        self._hang_up(self._connections)
        self._lanes = {}
        self._road = None
        self._failed_before = False

    def _deliver(self, lanes: Sequence[Lane]) -> str:
        """Send and wait until every frame is there, or something fails; returns what failed, or nothing."""
        waiting = [lane for lane in lanes if lane.frames]
        problem = ""
        while waiting and not problem:
            self._dead_letter(waiting)
            crash_point("bigquery.before_append")
            for lane in waiting:
                connection = self._connection(lane)
                for frame in lane.frames:
                    connection.send(frame)
            crash_point("bigquery.after_send")
            deadline_s = time.monotonic() + self._answer_s
            again = []
            for lane in waiting:
                answer, reason = self._collect(lane, deadline_s)
                if answer is Answer.REFUSED:
                    again.append(lane)
                elif answer is Answer.NOT_NOW:
                    problem = reason
            crash_point("bigquery.after_append")
            waiting = again
        if problem:
            self._disconnect()
        elif not self._keep_s:
            self._hang_up(self._connections)
        return problem

    def _collect(self, lane: Lane, deadline_s: float) -> tuple[Answer, str]:
        """Answers to all the lane's frames. After any but DONE what was sent behind it counts as not answered."""
        connection = self._connections[lane.partition]
        for _ in range(len(lane.frames)):
            reason = ""
            try:
                response = connection.answer(deadline_s)
            except grpc.RpcError as error:
                reason = f"appending to BigQuery failed: {_plain(error)}"
                answer = lane.judge_broken(error)
            except TimeoutError as error:
                reason, answer = str(error), Answer.NOT_NOW
            else:
                reason = f"BigQuery does not append now: {response.error.message[:300]}"
                answer = lane.judge(response)
            if answer is not Answer.DONE:
                self._hang_up([lane.partition])
                return answer, reason
        return Answer.DONE, ""

    def _dead_letter(self, lanes: Sequence[Lane]) -> None:
        letters = [letter for lane in lanes for letter in lane.letters]
        if not letters:
            return
        assert self._road is not None
        crash_point("bigquery.before_dead_letter")
        self._road.dead_letter(letters)
        crash_point("bigquery.after_dead_letter")
        for lane in lanes:
            lane.letters = []

    def _connection(self, lane: Lane) -> Connection:
        found = self._connections.get(lane.partition)
        if found is not None and time.monotonic() - found.used_s > self._keep_s:
            self._hang_up([lane.partition])
            found = None
        if found is None:
            found = self._connections[lane.partition] = Connection(self._reached(), lane.stream)
        return found

    def _hang_up(self, partitions: Iterable[int]) -> None:
        for partition in list(partitions):
            self._connections.pop(partition).close()

    def _reached(self) -> WriteChannel:
        if self._channel is None:
            self._channel = WriteChannel(self._settings)
        return self._channel

    def _disconnect(self) -> None:
        """The next call begins with a new connection to the server."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.abort()
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _plain(error: grpc.RpcError) -> str:
    if not isinstance(error, grpc.Call):
        return type(error).__name__
    return f"{error.code().name}: {' '.join(str(error.details()).split())[:300]}"

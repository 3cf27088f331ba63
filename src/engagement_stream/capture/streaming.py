"""One attempt at capturing: from an opened slot to the end of the process, or to the first failure.

One thread does it all: it waits on the sockets of the replication session and of the first copy, turns what has
arrived into records, commits them together with the progress, and only then acknowledges. Each call to Kafka ends
within seconds, one way or the other; the server waits a minute for a sign of life.
"""

import select
import threading
import time

import msgspec

from engagement_stream.broker.transaction import Outbox
from engagement_stream.capture.acknowledging import Acknowledging
from engagement_stream.capture.canary import CanarySender
from engagement_stream.capture.changes import Changes
from engagement_stream.capture.first_copy import NO_PACE, EventCopy, Pace, after_content, copy_content
from engagement_stream.capture.opening import Opened
from engagement_stream.capture.outgoing import Outgoing
from engagement_stream.capture.pgoutput import Relation
from engagement_stream.capture.progress import Progress, ProgressTopic
from engagement_stream.capture.records import Records
from engagement_stream.capture.slot import check_slot
from engagement_stream.capture.slot_watch import tell_slot
from engagement_stream.capture.tables import Table, table_of
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal
from engagement_stream.model.position import format_lsn
from engagement_stream.observe.metrics import StageMetrics
from engagement_stream.observe.status import StageStatus
from engagement_stream.observe.tracing import now_ns, tell_batch, tell_source_commits
from engagement_stream.settings import KafkaSettings, PostgresSettings

_TICK_MS = 250
_MAX_AGE_S = 0.4  # a Kafka transaction is not kept open longer than this while rows still come
# The coordinator writes its markers after it has answered a commit. A transaction that begins meanwhile is refused, and
# librdkafka comes back 20 ms later: a short breath between small transactions halves the median latency (measured).
_FEW_RECORDS = 500
_BREATH_S = 0.004
_PIECE_MESSAGES = 500
_PIECE_BYTES = 1 << 20
_MAX_PIECES = 40  # then look at the clock, whatever was in them
_IDLE_COMMIT_EVERY_S = 10.0
_ASKED_COMMIT_EVERY_S = 1.0
_SLOT_LAG_EVERY_S = 10.0
_COPY_ROWS = 2_500
_COPY_BYTES = 4 << 20


class Streaming:
    """The caller closes what was opened."""

    def __init__(
        self,
        opened: Opened,
        outbox: Outbox,
        postgres: PostgresSettings,
        kafka: KafkaSettings,
        status: StageStatus,
        metrics: StageMetrics,
    ) -> None:
        self._opened, self._session, self._outbox = opened, opened.session, outbox
        self._postgres, self._kafka = postgres, kafka
        self._status, self._metrics = status, metrics
        self._topic = ProgressTopic(kafka, postgres.slot)
        self._out = Outgoing(outbox, kafka)
        self._records = Records(self._out, kafka)
        self._progress = opened.progress
        self._copy: EventCopy | None = None
        self._pace: Pace | None = None
        self._asked = False
        self._committed_s = 0.0
        self._lag_told_s = 0.0
        self.moved = False
        """Whether this attempt made anything durable."""

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; what was read by then is committed and acknowledged."""
        if self._opened.fresh is not None and not self._copy_content(stop):
            return
        self._start()
        while not stop.is_set():
            try:
                more = self._read()
            except Fatal:
                self._commit()  # what came before it is not held back by it
                raise
            copied = self._copy_some()
            now_s = time.monotonic()
            self._canary.when_due(now_s)
            if self._is_due(now_s, more=more, copied=copied):
                few = self._out.records < _FEW_RECORDS
                self._commit()
                if few:
                    time.sleep(_BREATH_S)
            if not more and not copied:
                self._acknowledge.when_idle(self._progress.end_lsn, now_s)
                self._wait()
            self._tell_slot_lag(now_s)
        self._status.stopping()
        if self._out.records or self._changes.end_lsn > self._progress.end_lsn:
            self._commit()
        self._acknowledge.now(self._progress.end_lsn)

    def _copy_content(self, stop: threading.Event) -> bool:
        opened, imported, session = self._opened, self._opened.fresh, self._opened.copy_session
        assert imported is not None
        assert session is not None
        self._status.detail(phase="copying content")
        self._status.running()
        table = self._described(opened.tables.content)
        contents = copy_content(session, imported, opened.tables, table, self._out, self._records, stop)
        if contents is None:
            return False
        copy_events = self._postgres.snapshot == "initial"
        point = session.consistent_point
        progress = after_content(self._progress, imported, contents, point, copy_events=copy_events)
        self._out.ready_for_progress()
        self._topic.write(self._outbox, progress)
        self._out.commit()
        crash_point("capture.after_content")
        self._progress, self.moved = progress, True
        if progress.copy is None:
            self._end_copy_session()
        return True

    def _start(self) -> None:
        opened = self._opened
        self._changes = Changes(self._out, self._kafka, opened.identity.database, self._progress)
        self._acknowledge = Acknowledging(self._session)
        self._canary = CanarySender(opened.source, self._postgres.canary_interval_s, self._status)
        crash_point("capture.before_start")
        self._session.start(self._progress.end_lsn)
        # Again, now that the slot is ours and nobody can move it any more.
        check_slot(self._postgres.slot, self._progress, opened.source.slot())
        crash_point("capture.after_start")
        self._acknowledge.now(self._progress.end_lsn, want_reply=True)
        if self._progress.copy is not None:
            assert opened.copy_session is not None
            table = self._described(opened.tables.events)
            self._copy = EventCopy(
                opened.copy_session, self._progress.copy, opened.delivered, opened.tables, table, self._records
            )
            self._changes.copying(self._progress.copy, self._copy.first_images)
        self._replication_only = select.poll()
        self._replication_only.register(self._session.socket, select.POLLIN)
        self._both = select.poll()
        self._both.register(self._session.socket, select.POLLIN)
        if self._copy is not None:
            self._both.register(self._copy.session.socket, select.POLLIN)
        self._tell_phase()
        self._status.running()

    def _described(self, relation: Relation) -> Table:
        table = table_of(relation, self._kafka.prefix, self._opened.identity.database)
        assert table is not None
        return table

    def _read(self) -> bool:
        """What has arrived, unless the open transaction is full before; whether there may be more."""
        for _ in range(_MAX_PIECES):
            piece = self._session.read(_PIECE_MESSAGES, _PIECE_BYTES)
            self._changes.handle(piece.messages)
            if piece.keepalive is not None:
                self._changes.sent_up_to(piece.keepalive.lsn)
                self._asked = self._asked or piece.keepalive.asked
            if not piece.more or self._out.full:
                return piece.more
        return True

    def _copy_some(self) -> bool:
        """A piece of the first copy, if there is one and it may go on; whether any row was read."""
        copy = self._copy
        if copy is None or self._out.full or not copy.is_ready(self._changes.end_lsn):
            return False
        rows = copy.put_some(_COPY_ROWS, _COPY_BYTES)
        return rows > 0 or copy.over

    def _is_due(self, now_s: float, *, more: bool, copied: bool) -> bool:
        out, copy = self._out, self._copy
        if out.full or (copy is not None and copy.over):
            return True
        if out.records:
            if now_s - out.opened_s >= _MAX_AGE_S:
                return True
            live = bool(out.commit_ts_us) or not copied
            return not more and not self._changes.in_transaction and live
        if more or copied or self._changes.end_lsn == self._progress.end_lsn:
            return False
        # Nothing of ours, but the server has gone on: let it forget its WAL.
        every_s = _ASKED_COMMIT_EVERY_S if self._asked else _IDLE_COMMIT_EVERY_S
        return now_s - self._committed_s >= every_s

    def _commit(self) -> None:
        out, changes, copy = self._out, self._changes, self._copy
        records, rows, commit_ts_us = out.records, out.records - out.marks, out.commit_ts_us
        canary_us, began_ns = out.canary_us, now_ns()
        state = None
        out.ready_for_progress()
        if copy is not None:
            state = copy.copy
            if new := copy.first_images.take_new():
                self._topic.write_delivered(self._outbox, state.delivered_records, new)
                state = msgspec.structs.replace(state, delivered_records=state.delivered_records + 1)
                copy.copy = state
            if copy.over:
                self._topic.forget_delivered(self._outbox, state.delivered_records)
                state = None
        progress = Progress(
            phase="streaming" if state is None else "copying",
            system_identifier=self._opened.identity.system_identifier,
            timeline=self._opened.identity.timeline,
            end_lsn=changes.end_lsn,
            commit_lsn=changes.commit_lsn,
            next_index=changes.next_index,
            catalog=changes.catalog,
            commit_ts_us=changes.commit_ts_us,
            copy=state,
        )
        self._topic.write(self._outbox, progress)
        out.commit()
        before_lsn = self._progress.end_lsn
        self._progress, self.moved = progress, True
        self._committed_s = time.monotonic()
        self._asked = False
        self._acknowledge.when_due(progress.end_lsn, self._committed_s)
        if records:
            self._metrics.durable(rows, commit_ts_us)
            self._status.progress(rows)
            tell_source_commits(commit_ts_us)
            lsns = {0: (before_lsn, progress.end_lsn)}
            tell_batch("capture.commit", began_ns, records=rows, commit_ts_us=commit_ts_us, positions=lsns)
        if canary_us is not None:
            self._status.canaries.passed(canary_us)
        if copy is not None and copy.over:
            changes.copying(None, None)
            self._copy = None
            self._end_copy_session()
        self._tell_phase()

    def _end_copy_session(self) -> None:
        if self._opened.copy_session is not None:
            self._opened.copy_session.close()
            self._opened.copy_session = None

    def _wait(self) -> None:
        copy = self._copy
        if copy is not None and copy.is_ready(self._changes.end_lsn):
            self._both.poll(_TICK_MS)
            return
        if copy is not None:
            self._acknowledge.now(self._progress.end_lsn, want_reply=True)  # how far is the server?
        self._replication_only.poll(_TICK_MS)

    def _tell_phase(self) -> None:
        progress, copy = self._progress, self._progress.copy
        pace: dict[str, int | None] = {}
        if copy is not None:
            now_s = time.monotonic()
            self._pace = self._pace or Pace(copy.rows, now_s)
            pace = self._pace.details(copy.rows, self._opened.tables.estimated_events, now_s)
        elif self._pace is not None:
            self._pace, pace = None, NO_PACE
        phase = "streaming" if copy is None else "copying events"
        self._status.detail(phase=phase, lsn=format_lsn(progress.end_lsn), **pace)

    def _tell_slot_lag(self, now_s: float) -> None:
        if now_s - self._lag_told_s < _SLOT_LAG_EVERY_S:
            return
        self._lag_told_s = now_s
        slot = self._opened.source.slot()
        if slot is not None:
            tell_slot(self._status, slot.lag_bytes, slot.wal_status)

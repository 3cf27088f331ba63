"""From the reader into the table: chunks are enriched and staged by a few threads, groups of them inserted by one.

At any time at most a few chunks are in memory; reading waits for them. While one group is inserted the next is staged.
What was inserted stays; what was only staged when the process ends is read again by the next run.
"""

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from threading import BoundedSemaphore, Lock
from typing import TypeVar

import pyarrow as pa

from engagement_stream.backfill.chunks import chunks
from engagement_stream.backfill.known import Known
from engagement_stream.backfill.pace import Pace
from engagement_stream.backfill.payloads import settle_payloads
from engagement_stream.backfill.plan import Cut, Unit
from engagement_stream.backfill.progress import Read, Report, Tell
from engagement_stream.backfill.source import Reader
from engagement_stream.backoff import Backoff, Patience
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Reopen, Retry
from engagement_stream.sinks.bigquery.insert_missing import Inserted
from engagement_stream.sinks.bigquery.staging import Staging, parquet

CHUNK_BYTES = 32 << 20
_IN_MEMORY = 3
"""Chunks that are not yet Parquet, a fifth of their size."""
_GROUPS_AHEAD = 2
_PATIENCE_S = 120.0
T = TypeVar("T")

Insert = Callable[[list[str], datetime, datetime], Inserted]
"""(staging tables, since, until): the one statement."""


class Delivery:
    """One run's way into the table. `insert` is called by one thread at a time."""

    def __init__(
        self,
        reader: Reader,
        known: Known,
        staging: Staging,
        insert: Insert,
        pace: Pace,
        report: Report,
        tell: Tell,
        stopped: Callable[[], bool],
        cut: Cut,
    ) -> None:
        self._cut = cut
        self._reader, self._known, self._staging, self._insert = reader, known, staging, insert
        self._pace, self._report, self._tell, self._stopped = pace, report, tell, stopped
        self._room = BoundedSemaphore(_IN_MEMORY)
        self._stagers = ThreadPoolExecutor(cut.loads, thread_name_prefix="stage")
        self._inserter = ThreadPoolExecutor(1, thread_name_prefix="insert")
        self._groups: list[Future[None]] = []
        self._number = 0
        self._reporting = Lock()

    def deliver(self, unit: Unit, done: Callable[[], None]) -> None:
        """Read the unit's days; `done` is called when all of it is inserted. Raises what a thread raised."""
        since = datetime.combine(unit.first, clock(), UTC)
        until = datetime.combine(unit.last, clock(), UTC) + timedelta(days=1)
        group: list[Future[str | None]] = []
        rows = 0
        for chunk in self._chunks(since, until):
            if rows and rows + chunk.num_rows > unit.rows_per_insert:
                self._close(group, since, until, None)
                group, rows = [], 0
            for staged in group:
                if staged.done():
                    staged.result()  # a chunk that failed: no use in reading on
            self._room.acquire()
            rows += chunk.num_rows
            # In a list, to be taken out of it: the pool holds on to a call's arguments until it is over.
            group.append(self._stagers.submit(self._stage, self._number, [chunk]))
            self._number += 1
            del chunk
        if not self._stopped():
            self._close(group, since, until, done)

    def finish(self) -> None:
        """Wait for what is under way. Raises what a thread raised."""
        self._stagers.shutdown()
        self._inserter.shutdown()
        for group in self._groups:
            group.result()

    def abandon(self) -> None:
        """Something failed: begin nothing more."""
        self._stagers.shutdown(cancel_futures=True)
        self._inserter.shutdown(cancel_futures=True)

    def _chunks(self, since: datetime, until: datetime) -> Iterator[pa.RecordBatch]:
        for chunk in chunks(self._reader.rows(since, until), self._cut.chunk_rows, CHUNK_BYTES):
            self._pace.turn(chunk.num_rows)
            if self._stopped():
                return
            yield chunk

    def _stage(self, number: int, chunk: list[pa.RecordBatch]) -> str | None:
        try:
            count = chunk[0].num_rows
            file = self._encode(chunk.pop())
        finally:
            self._room.release()
        name = None if file is None else patiently(lambda: self._load(number, file), self._stopped)
        with self._reporting:
            self._report.read += count
        self._tell(Read(count))
        return name

    def _load(self, number: int, file: io.BytesIO) -> str:
        with self._pace.job():
            return self._staging.load(number, file)

    def _encode(self, chunk: pa.RecordBatch) -> io.BytesIO | None:
        enriched = self._known.enrich(chunk)
        rows, unstorable = settle_payloads(enriched.rows)
        with self._reporting:
            self._report.leave_out(enriched.left_out + unstorable)
            self._report.by_event_time += enriched.by_event_time
        return parquet(rows) if rows.num_rows else None

    def _close(
        self, group: list[Future[str | None]], since: datetime, until: datetime, done: Callable[[], None] | None
    ) -> None:
        while len(self._groups) >= _GROUPS_AHEAD:
            self._groups.pop(0).result()
        self._groups.append(self._inserter.submit(self._insert_group, group, since, until, done))

    def _insert_group(
        self, group: list[Future[str | None]], since: datetime, until: datetime, done: Callable[[], None] | None
    ) -> None:
        tables = [name for staged in group if (name := staged.result()) is not None]
        if tables:
            inserted = patiently(lambda: self._insert(tables, since, until), self._stopped)
            self._report.inserted += inserted.rows
            self._report.bytes_processed += inserted.bytes_processed
            self._report.slot_ms += inserted.slot_ms
            self._report.statements += 1
            crash_point("backfill.before_drop")
            self._staging.drop(tables)
            crash_point("backfill.after_drop")
        if done is not None:
            done()


def patiently(call: Callable[[], T], stopped: Callable[[], bool]) -> T:
    """Make the call again while it asks for that, for two minutes at most."""
    patience, deadline_s = Patience(Backoff(cap_s=10.0)), time.monotonic() + _PATIENCE_S
    while True:
        try:
            return call()
        except (Retry, Reopen):
            if time.monotonic() > deadline_s or stopped():
                raise
            time.sleep(patience.next_wait_s())

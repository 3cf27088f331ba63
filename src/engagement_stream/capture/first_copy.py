"""The first copy: content whole and first, then the events by id while the live stream goes on.

Content is published before anything that could join it; a crash in this short phase makes the slot anew. The events
go on after a crash from the last id that was committed, see `copying` and `first_images`.
"""

import threading

import msgspec

from engagement_stream.capture.copying import CopySession, Imported
from engagement_stream.capture.first_images import FirstImages
from engagement_stream.capture.outgoing import MAX_BYTES, MAX_RECORDS, Outgoing
from engagement_stream.capture.progress import Copy, Progress
from engagement_stream.capture.records import Records
from engagement_stream.capture.source import Described
from engagement_stream.capture.tables import Table
from engagement_stream.crashpoint import crash_point
from engagement_stream.model.position import BEGINNING, SNAPSHOT_CONTENT_INDEX

_WAIT_MS = 250


def copy_content(
    session: CopySession,
    imported: Imported,
    tables: Described,
    table: Table,
    outgoing: Outgoing,
    records: Records,
    stop: threading.Event,
) -> int | None:
    """How many there were, the last of them still uncommitted; None when `stop` came first."""
    session.start_content(tables.content)
    number = 0
    over = False
    while not over:
        if stop.is_set():
            return None
        rows, over = session.read(MAX_RECORDS, MAX_BYTES)
        for values, line in rows:
            records.put_content_image(table, values, number, session.consistent_point, imported.taken_us, line)
            number += 1
        if outgoing.full and not over:
            outgoing.commit()
            crash_point("capture.content_chunk")
        if not rows and not over:
            session.wait(_WAIT_MS)
    return number


def after_content(creating: Progress, imported: Imported, contents: int, point: int, *, copy_events: bool) -> Progress:
    """The progress that goes with the last content: from here on a crash goes on instead of starting over. Pure."""
    catalog = (point, SNAPSHOT_CONTENT_INDEX) if contents else BEGINNING
    copy = None
    if copy_events and imported.max_id is not None:
        copy = Copy(
            consistent_point=point,
            snapshot=imported.snapshot,
            taken_us=imported.taken_us,
            catalog=catalog,
            filenode=imported.filenodes[0],
            max_id=imported.max_id,
        )
    return msgspec.structs.replace(
        creating,
        phase="streaming" if copy is None else "copying",
        end_lsn=point,
        catalog=catalog,
        commit_ts_us=imported.taken_us,
        copy=copy,
    )


class Pace:
    """How fast the rows go, since this process began to copy them, and how long the rest will take."""

    def __init__(self, rows: int, now_s: float) -> None:
        self._first, self._began_s = rows, now_s

    def details(self, rows: int, estimated_rows: int, now_s: float) -> dict[str, int | None]:
        """For the status; the estimate is never below what was copied. Pure."""
        rate_per_s = (rows - self._first) / max(now_s - self._began_s, 0.001)
        estimated_rows = max(estimated_rows, rows)
        return {
            "copied_rows": rows,
            "estimated_rows": estimated_rows,
            "copy_rows_per_s": round(rate_per_s),
            "copy_left_s": round((estimated_rows - rows) / rate_per_s) if rate_per_s > 0 else None,
        }


NO_PACE: dict[str, int | None] = dict.fromkeys(("copied_rows", "estimated_rows", "copy_rows_per_s", "copy_left_s"))
"""The copy is over."""


class EventCopy:
    """The events' part, a piece at a time, between pieces of the live stream."""

    def __init__(
        self,
        session: CopySession,
        copy: Copy,
        delivered: tuple[int, ...],
        tables: Described,
        table: Table,
        records: Records,
    ) -> None:
        self.session = session
        self.copy = copy
        self.first_images = FirstImages(copy.max_id, copy.last_id, delivered)
        self.over = False
        self._table, self._records = table, records
        self._relation = tables.events
        self._rest = records.image_rest(table, copy)
        self._started = False

    def is_ready(self, end_lsn: int) -> bool:
        """Whether the live stream has told everything that happened before this session's view of the table."""
        return not self.over and end_lsn >= self.session.ready_at

    def put_some(self, max_rows: int, max_bytes: int) -> int:
        """Records for rows that have arrived; how many rows were read. Never waits."""
        if not self._started:
            crash_point("capture.before_copy")
            self.session.start_events(self._relation, self.copy.last_id, self.copy.max_id)
            crash_point("capture.after_copy")
            self._started = True
        rows, self.over = self.session.read(max_rows, max_bytes)
        last_id, id_at = self.copy.last_id, self._table.id_at
        for values, line in rows:
            last_id = int(values[id_at])  # type: ignore[arg-type]  # a primary key
            if not self.first_images.passes_over(last_id):
                self._records.put_event_image(self._table, values, last_id, self._rest, line)
        self.first_images.last_id = last_id
        self.copy = msgspec.structs.replace(self.copy, last_id=last_id, rows=self.copy.rows + len(rows))
        return len(rows)

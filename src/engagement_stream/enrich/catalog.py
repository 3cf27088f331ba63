"""Every version of every content, in memory, by position: what the as-of join looks things up in. Pure.

`covers(P)` answers whether all that the source changed in `content` up to position P is known here. The topic is in
the order of positions, so it is once a *newer* position was read. An equal one is enough where no other record can
stand at it: not for the first copy, whose records all share one position, and not for a deletion, which is the first
half of a changed primary key (d, then c; ours stand at two positions, other writers' may not).
"""

from engagement_stream.enrich.storable import (
    NUMBER_OUT_OF_RANGE,
    TIMESTAMP_OUT_OF_RANGE,
    fits_int64,
    storable_timestamp,
)
from engagement_stream.enrich.versions import Version, Versions
from engagement_stream.model.change import OP_CREATE, OP_DELETE, OP_TRUNCATE, ContentChange, ContentRow
from engagement_stream.model.position import BEGINNING, FIRST_STREAMED_INDEX, Position


class Catalog:
    """`versions`: what is known, by content."""

    def __init__(self) -> None:
        self.versions = Versions()
        self.newest: Position = BEGINNING
        self._complete: Position = BEGINNING
        self._doubtful = False

    def covers(self, position: Position) -> bool:
        """Whether everything up to `position`, inclusive, is here."""
        return position < self.newest or position <= self._complete

    def at_end(self, *, certain: bool) -> None:
        """The reader stands at the end of what is committed.

        `certain`: it is past the high watermark that was taken *after* the event in question was read, so nothing
        at all that came before that event is missing. Otherwise it is the end as the brokers told it at some
        time: enough to know that a streamed position is whole (its records are of one Kafka transaction, visible
        all at once), not enough for the first copy, which may be many transactions.
        """
        if certain or (self.newest[1] >= FIRST_STREAMED_INDEX and not self._doubtful):
            self._complete = max(self._complete, self.newest)

    def presume_whole(self, position: Position) -> bool:
        """Past a certain end with `position` not seen: true if an unreadable record can have been it."""
        if self._doubtful:
            self._complete = max(self._complete, position)
        return self._doubtful

    def add(self, change: ContentChange) -> None:
        """Take in the next record of the content topic; the same record again changes nothing."""
        position = change.source.position
        if change.op == OP_TRUNCATE:
            for content_id in [known for known in self.versions if self.versions.newest(known).exists]:
                self.versions.insert(content_id, Version(position, exists=False))
        elif change.op == OP_DELETE:
            if change.before is not None:
                self.versions.insert(change.before.id, Version(position, exists=False))
        elif change.after is not None:
            row = change.after
            moved = change.before is not None and change.before.id != row.id
            if change.before is not None and moved:
                self.versions.insert(change.before.id, Version(position, exists=False))
            self.versions.insert(row.id, _version(row, position, created=moved or change.op == OP_CREATE))
        if position > self.newest:
            self.newest = position
            self._doubtful = False
        if position[1] >= FIRST_STREAMED_INDEX and change.op != OP_DELETE and position > self._complete:
            self._complete = position

    def add_unreadable(self, content_id: str, problem: tuple[str, str]) -> None:
        """A record that says nothing but whose it is: events that would join it must not join an older one."""
        self.versions.insert(content_id, Version(self.newest, exists=True, problem=problem))
        self._doubtful = True


def _version(row: ContentRow, position: Position, *, created: bool) -> Version:
    problem = None
    if not storable_timestamp(row.publish_ts):
        problem = (
            TIMESTAMP_OUT_OF_RANGE,
            f"publish_ts {row.publish_ts[:40]!r} of its content is not within years 1 to 9999 in UTC",
        )
    elif row.length_seconds is not None and not fits_int64(row.length_seconds):
        problem = (NUMBER_OUT_OF_RANGE, "length_seconds of its content does not fit into 64 bits")
    return Version(
        position, True, created, row.slug, row.title, row.content_type, row.length_seconds, row.publish_ts, problem
    )

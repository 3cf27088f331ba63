"""Every version of every content with the time from which it holds, as columns: what rows are joined with. Pure.

A table row does not tell its position in the log, but when it was committed. So versions are chosen by time: the
newest that was committed before the row, or with it (a content comes before its events, by the foreign key). What the
first copy found holds from the beginning, as it does for the live path.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from engagement_stream.enrich.storable import HISTORY_GONE
from engagement_stream.enrich.versions import Version
from engagement_stream.model.change import ContentRow
from engagement_stream.model.position import SNAPSHOT_CONTENT_INDEX, Position

BEGINNING_US = -(1 << 62)
_UTC_US = pa.timestamp("us", "UTC")
_NEVER_BEFORE = Version((0, 0), exists=False)
_GONE = Version((0, 0), exists=True, problem=(HISTORY_GONE, "the version of its content as of then is gone"))


@dataclass(frozen=True, slots=True)
class History:
    """Versions sorted by content and time; the first of each content holds from the beginning."""

    contents: pa.Array
    """Distinct content ids: a content's number is its place."""
    moments: pa.Array
    """Distinct times at which something changed, microseconds, in order."""
    keys: pa.Array
    """Of each version: content's number x (moments + 1) + rank of its time. In order."""
    exists: pa.Array
    slug: pa.Array
    title: pa.Array
    content_type: pa.Array
    length_seconds: pa.Array
    publish_ts: pa.Array
    problem: pa.Array
    """Why an event that joins it cannot be stored; mostly NULL."""

    def version_of(self, content_id: pa.Array, at_us: pa.Array) -> pa.Array:
        """Index of the version each row joins; NULL where it has no content, or none that is known."""
        number = pc.index_in(content_id, value_set=self.contents)
        number = pc.if_else(pc.is_valid(content_id), number, pa.scalar(None, number.type)).cast(pa.int64())
        rank = pc.search_sorted(self.moments, at_us, side="right").cast(pa.int64())
        key = pc.add(pc.multiply(number, len(self.moments) + 1), rank)
        return pc.subtract(pc.search_sorted(self.keys, key, side="right").cast(pa.int64()), 1)


def history(catalog: Mapping[str, Sequence[Version]], commit_us: Mapping[Position, int]) -> History:
    """`catalog`: content id -> versions, oldest first; `commit_us`: position -> when it was committed."""
    contents: list[str] = []
    rows: list[tuple[int, int, Version]] = []
    for content_id, versions in catalog.items():
        number = len(contents)
        contents.append(content_id)
        rows += [(number, at_us, version) for at_us, version in _timed(versions, commit_us)]
    moments = sorted({at_us for _, at_us, _ in rows})
    ranks = {at_us: rank for rank, at_us in enumerate(moments, 1)}
    versions = [version for _, _, version in rows]
    texts = pa.array([v.publish_ts if v.problem is None else None for v in versions], pa.string())
    lengths = [v.length_seconds if v.problem is None else None for v in versions]
    return History(
        contents=pa.array(contents, pa.string()),
        moments=pa.array(moments, pa.int64()),
        keys=pa.array([n * (len(moments) + 1) + ranks[at_us] for n, at_us, _ in rows], pa.int64()),
        exists=pa.array([v.exists for v in versions], pa.bool_()),
        slug=pa.array([v.slug for v in versions], pa.string()),
        title=pa.array([v.title for v in versions], pa.string()),
        content_type=pa.array([v.content_type for v in versions], pa.string()),
        length_seconds=pa.array(lengths, pa.int64()),
        publish_ts=texts.cast(_UTC_US),
        problem=pa.array([None if v.problem is None or not v.exists else v.problem[0] for v in versions], pa.string()),
    )


def table_history(rows: Iterable[ContentRow]) -> History:
    """Where no content topic is: what the table says holds from the beginning."""
    catalog = {
        row.id: [
            Version(
                (0, SNAPSHOT_CONTENT_INDEX),
                exists=True,
                slug=row.slug,
                title=row.title,
                content_type=row.content_type,
                length_seconds=row.length_seconds,
                publish_ts=row.publish_ts,
            )
        ]
        for row in rows
    }
    return history(catalog, {})


def _timed(versions: Sequence[Version], commit_us: Mapping[Position, int]) -> list[tuple[int, Version]]:
    """Versions with the time from which they hold, never going back; of several at one time only the last."""
    oldest = versions[0]
    if oldest.position[1] == SNAPSHOT_CONTENT_INDEX:
        timed: dict[int, Version] = {}
        last_us = BEGINNING_US
    else:
        timed = {BEGINNING_US: _NEVER_BEFORE if oldest.created else _GONE}
        last_us = BEGINNING_US
    for version in versions:
        if version.position[1] == SNAPSHOT_CONTENT_INDEX:
            at_us = BEGINNING_US
        else:
            at_us = commit_us.get(version.position, last_us)
        last_us = max(last_us, at_us)
        timed[last_us] = version
    return list(timed.items())

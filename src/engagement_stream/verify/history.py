"""PostgreSQL against the raw topic: what is not equal may simply have changed since, or be on its way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engagement_stream.capture.progress import Progress
from engagement_stream.model.change import EventRow
from engagement_stream.verify.compare import Comparison
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.report import Place
from engagement_stream.verify.topics import Raw

_NOT_CAPTURED = "select s.id from source s left join raw r on r.id = s.id where r.id is null order by s.id"
_DIFFERS = """
select s.id from source s join raw r on r.id = s.id group by s.id having not max(s.text = r.text)
"""
_GONE = """
select r.id, min(r.lsn), r.id in (select id from later where op = 'd'),
       (min(r.lsn), min(r.idx)) < (?1, ?2)
  from raw r left join source s on s.id = r.id where s.id is null group by r.id
"""
_CHANGED = "select count(*) from (select distinct id from later)"


@dataclass(frozen=True, slots=True)
class Source:
    """How to look at PostgreSQL again, and what is known about time."""

    rows_now: Callable[[Sequence[int]], dict[int, EventRow]]
    commit_times: Callable[[Sequence[int]], Mapping[int, int]]
    snapshot_lsn: int
    """Everything in the snapshot was committed before."""
    progress: Progress | None
    """Of capture, read before the raw topic."""
    history_captured: bool
    """False: CAPTURE_SNAPSHOT=never."""


def compare_raw(
    comparison: Comparison, ledger: Ledger, place: Place, source: Source, raw: Raw, *, topic: str, trimmed: bool
) -> None:
    """Fill in the raw topic's line."""
    del topic
    place.rows = ledger.value("select count(*) from raw")
    place.changed_later = ledger.value(_CHANGED)
    comparison.doubled(place, "raw")
    dead = set(ledger.ids("select id from letter where stage = 'capture' and id is not null"))
    clock = _Clock(source, raw)

    absent = [i for i in ledger.ids(_NOT_CAPTURED) if i not in dead]
    place.dead_lettered = len(dead)
    first = ledger.value("select min(id) from raw")
    old = {i for i in absent if not source.history_captured and i < first}
    absent = [i for i in absent if i not in old]
    place.left_out += len(old)
    late, settled = clock.split(absent)
    place.in_flight += len(late)
    if trimmed:
        place.left_out += len(settled)
        place.notes.append("retention has taken the oldest records: what only PostgreSQL has is not compared")
    else:
        comparison.found(place, "missing", settled)

    changed = set(ledger.ids("select distinct id from later"))
    late, settled = clock.split([i for i in ledger.ids(_DIFFERS) if i not in changed])
    place.in_flight += len(late)
    comparison.found(place, "wrong", settled)

    unknown = []
    for event_id, lsn, deleted, truncated in ledger.rows(_GONE, *raw.truncated):
        if deleted or truncated or event_id in changed or lsn >= source.snapshot_lsn:
            continue  # a changed primary key is in `later` too
        unknown.append(event_id)
    # Committed before the snapshot but visible only after it: look again.
    present = source.rows_now(unknown) if unknown else {}
    gone = [i for i in unknown if i not in present]
    if gone and not clock.caught_up:
        place.in_flight += len(gone)  # deleted, and the deletion is on its way
    else:
        comparison.found(place, "wrong", gone, "PostgreSQL does not have it and never deleted it")


class _Clock:
    """Whether capture has to have come to a change by now."""

    def __init__(self, source: Source, raw: Raw) -> None:
        self._source = source
        progress = source.progress
        self._copying = progress is not None and progress.phase != "streaming"
        self.caught_up = not self._copying and (progress is None or progress.end_lsn >= source.snapshot_lsn)
        self._until_us = raw.newest_commit_us if progress is None else progress.commit_ts_us

    def split(self, ids: list[int]) -> tuple[list[int], list[int]]:
        """(not expected yet, expected)."""
        if not ids or self.caught_up:
            return [], ids
        if self._copying:
            return ids, []
        times = self._source.commit_times(ids)
        late = {i for i in ids if times.get(i, self._until_us + 1) > self._until_us}
        return sorted(late), [i for i in ids if i not in late]

"""PostgreSQL against the raw topic: what is not equal may simply have changed since, or be on its way."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engagement_stream.capture.progress import Progress
from engagement_stream.model.change import EventRow
from engagement_stream.verify.canon import text_digest
from engagement_stream.verify.compare import Comparison, seen
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.raw_topic import Raw
from engagement_stream.verify.report import Place

_NOT_CAPTURED = f"""
select s.id from source s left join raw r on r.id = s.id
 where r.id is null and s.id not in (select id from letter where stage = 'capture' and id is not null)
   and s.id not in (select id from told) and not {seen("raw", "s.id")}
 order by s.id
"""  # noqa: S608 - a constant of ours
_DIFFERS = """
select s.id from source s join raw r on r.id = s.id and r.open
 where s.id not in (select id from later) group by s.id having not max(s.text = r.text)
"""
# Committed before the snapshot, not in it, and no later change tells why.
_ABSENT = """
select r.id, min(r.lsn), max(r.text)
  from raw r left join source s on s.id = r.id
 where r.open and s.id is null and r.lsn < ?1 and r.id not in (select id from later) and (r.lsn, r.idx) >= (?2, ?3)
 group by r.id
"""
_CHANGED = "select count(distinct id) from later"
_CHUNK = 10_000
_UNORDERED_US = 1_000_000
"""PostgreSQL takes a commit's time a moment before its place in the WAL: so near, the two may be in another order."""


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
    comparison: Comparison, ledger: Ledger, place: Place, source: Source, raw: Raw, *, trimmed: bool
) -> None:
    """Fill in the raw topic's line. What cannot be told yet is noted in `waiting`."""
    comparison.doubled(place, "raw")
    place.changed_later = ledger.value(_CHANGED)
    place.dead_lettered = ledger.value("select count(*) from letter where stage = 'capture' and open")
    clock = _Clock(source, raw)
    _compare_absent(comparison, ledger, place, source, raw, clock)

    first = 0 if source.history_captured else ledger.value("select min(id) from raw")
    missing = 0
    for ids in _chunks(ledger.ids(_NOT_CAPTURED)):
        old = [i for i in ids if i < first]
        place.left_out += len(old)
        late, settled = clock.split([i for i in ids if i >= first])
        place.in_flight += len(late)
        ledger.wait_for(late)
        missing += len(settled)
        if not trimmed:
            comparison.found(place, "missing", settled)
            ledger.add("told", [(i,) for i in settled])
    if trimmed:
        place.left_out += missing
        place.notes.append("retention has taken the oldest records: what only PostgreSQL has is not compared")

    for ids in _chunks(ledger.ids(_DIFFERS)):
        late, settled = clock.split(ids)
        place.in_flight += len(late)
        ledger.wait_for(late)
        comparison.found(place, "wrong", settled)


def _compare_absent(
    comparison: Comparison, ledger: Ledger, place: Place, source: Source, raw: Raw, clock: "_Clock"
) -> None:
    for rows in ledger.chunks(_ABSENT, source.snapshot_lsn, *raw.truncated):
        # Committed before the snapshot but visible only after it: look again.
        present = source.rows_now([row[0] for row in rows])
        gone = []
        for event_id, _, text in rows:
            row = present.get(event_id)
            if row is None:
                gone.append(event_id)
            elif text_digest(row) != text:
                ledger.wait_for([event_id])  # changed meanwhile: the next round knows how
        if clock.caught_up:
            comparison.found(place, "wrong", gone, "PostgreSQL does not have it and never deleted it")
        else:
            place.in_flight += len(gone)  # deleted, and the deletion is on its way
            ledger.wait_for(gone)


class _Clock:
    """Whether capture has to have come to a change by now."""

    def __init__(self, source: Source, raw: Raw) -> None:
        self._source = source
        progress = source.progress
        self._copying = progress is not None and progress.phase != "streaming"
        self.caught_up = not self._copying and (progress is None or progress.end_lsn >= source.snapshot_lsn)
        self._until_us = (raw.newest_commit_us if progress is None else progress.commit_ts_us) - _UNORDERED_US

    def split(self, ids: list[int]) -> tuple[list[int], list[int]]:
        """(not expected yet, expected)."""
        if not ids or self.caught_up:
            return [], ids
        if self._copying:
            return ids, []
        times = self._source.commit_times(ids)
        late = {i for i in ids if times.get(i, self._until_us + 1) > self._until_us}
        return sorted(late), [i for i in ids if i not in late]


def _chunks(ids: Iterable[int]) -> Iterator[list[int]]:
    chunk: list[int] = []
    for number in ids:
        chunk.append(number)
        if len(chunk) >= _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

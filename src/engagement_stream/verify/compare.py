"""The comparisons, place by place against the one before it. Reads nothing but the ledger.

What is new in a place is judged for doubles and for rows from nowhere; what a stage has come past is judged for missing
rows; values are judged as soon as a row and the one before it are both there.
"""

from collections.abc import Iterable

from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.report import EXAMPLES, Finding, Kind, Place

UPSTREAM = {"enriched": "raw", "bigquery": "enriched", "http": "enriched"}
_IS_NEW = "coalesce(here.off >= (select low from news where place = '{place}' and part = here.part), 1)"
# Whether the rounds before have seen the id there; as a range, so that a hundred million of them are small.
_SEEN = """coalesce((
  select last >= {id} from seen where place = '{place}' and first <= {id} order by first desc limit 1), 0)"""
_NEW = "select count(*) from {place} here where {is_new}"
_TWICE = """
insert or ignore into twice
select '{place}', here.id from {place} here where here.id is not null group by here.id
having count(*) > 1 and max({is_new})
"""
_AGAIN = """
insert or ignore into twice
select '{place}', here.id from {place} here where {is_new} and {seen}
"""
_DOUBLED = """
select twice.id, (select count(*) from {place} here where here.id = twice.id), {seen} from twice
 where place = '{place}'
"""
# Rows of the place before that are not here, with what became of them: of what the stage has come past in its topic,
# and of the replays of dead letters that it has come past.
_ABSENT = """
select up.id,
       exists (select 1 from letter
                where letter.stage = ?1 and letter.topic = ?2 and letter.part = up.part and letter.off = up.off
                  and not letter.replayed),
       up.off >= coalesce(passed.high, 0) or exists (select 1 {replay} and r.at >= coalesce(p.high, 0)),
       {history}
  from {upstream} up
  left join {place} here on here.id = up.id
  left join passed on passed.stage = ?1 and passed.part = up.part
 where here.id is null and not {seen}
   and (up.off >= coalesce(passed.low, 0) or exists (select 1 {replay} and r.at >= p.low and r.at < p.high))
"""
_REPLAY = """
from replay r left join passed p on p.stage = ?1 || '-retry' and p.part = r.here
where r.stage = ?1 and r.topic = ?2 and r.part = up.part and r.off = up.off"""
_WRONG = {
    "enriched": """
select here.id from enriched here join raw up on up.id = here.id where here.open group by here.id
having not max(coalesce(here.bytes = up.want, 0))""",
    "bigquery": """
select here.id from bigquery here join enriched up on up.id = here.id group by here.id
having not max(here.own = up.own and coalesce(here.joined = up.joined, 1)
               and coalesce(here.content = up.content, 1)
               and coalesce(here.off = up.off and here.part = up.part, 1))""",
    "http": """
select here.id from http here join enriched up on up.id = here.id where here.open group by here.id
having not max(here.bytes = up.bytes)""",
}
_UNKNOWN = """
select here.id from {place} here left join {upstream} up on up.id = here.id
 where up.id is null and {is_new} and here.id is not null and not {seen}
"""


class Comparison:
    """Counts into places, keeps the first ids of each kind as findings; `details` are filled in later."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.findings: list[Finding] = []

    def found(self, place: Place, kind: Kind, ids: Iterable[int | str], detail: str = "") -> None:
        """Count every id, keep the first few."""
        count = 0
        kept = sum(f.place == place.name and f.kind == kind for f in self.findings)
        for count, event_id in enumerate(ids, 1):  # noqa: B007 - used after the loop
            if kept < EXAMPLES:
                kept += 1
                self.findings.append(Finding(place.name, kind, str(event_id), detail))
        setattr(place, kind, getattr(place, kind) + count)

    def doubled(self, place: Place, table: str) -> None:
        """How many rows are new; each event that is there more than once, or was there before."""
        ledger = self._ledger
        place.rows = ledger.value(_filled(_NEW, table))
        ledger.run(_filled(_TWICE, table))
        if ledger.value("select count(*) from seen where place = ?", table):
            ledger.run(_filled(_AGAIN, table))
        for event_id, count, before in ledger.rows(_filled(_DOUBLED, table, id="twice.id")):
            self.found(place, "doubled", [event_id], "it was there before" if before else f"{count} times")

    def against_upstream(
        self, place: Place, stage: str, table: str, topic: str, *, trimmed: bool, history: bool = True
    ) -> None:
        """`table` holds what `stage` made of `topic`.

        `trimmed`: the place before has lost its oldest rows. `history`: the stage also delivers what the first copy
        found.
        """
        self.doubled(place, table)
        absent = _filled(_ABSENT, table, id="up.id", history="0" if history else "up.history", replay=_REPLAY)
        for event_id, dead, behind, unwanted in self._ledger.rows(absent, stage, topic):
            if dead:
                place.dead_lettered += 1
            elif unwanted:
                place.left_out += 1
            elif behind:
                place.in_flight += 1
            else:
                self.found(place, "missing", [event_id])
        self.found(place, "wrong", self._ledger.ids(_WRONG[table]))
        unknown = self._ledger.ids(_filled(_UNKNOWN, table, seen_in=UPSTREAM[table]))
        if trimmed:
            place.left_out += sum(1 for _ in unknown)
        else:
            self.found(place, "wrong", unknown, "the place before it does not have it")


def is_new(place: str) -> str:
    """SQL: the row `here` was not read in an earlier round."""
    return _IS_NEW.format(place=place)


def seen(place: str, id: str) -> str:  # noqa: A002 - as SQL calls it
    """SQL: an earlier round has seen this id in that place."""
    return _SEEN.format(place=place, id=id)


def _filled(query: str, place: str, *, id: str = "here.id", seen_in: str | None = None, **more: str) -> str:  # noqa: A002 - the same
    return query.format(
        place=place,
        upstream=UPSTREAM.get(place, ""),
        is_new=is_new(place),
        seen=seen(seen_in or place, id),
        **more,
    )

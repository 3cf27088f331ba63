"""The comparisons, place by place against the one before it. Reads nothing but the ledger."""

from collections.abc import Iterable

from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.report import EXAMPLES, Finding, Kind, Place

_DOUBLED = "select id, count(*) from {place} group by id having count(*) > 1"
_UPSTREAM = {"enriched": "raw", "bigquery": "enriched", "http": "enriched"}
# Rows of the place before that are not here, with what became of them.
_ABSENT = """
select up.id,
       exists (select 1 from letter l
                where l.stage = ?1 and l.topic = ?2 and l.part = up.part and l.off = up.off and not l.replayed),
       up.off >= coalesce(position.off, 0)
       or exists (select 1 from replay r left join position p on p.place = ?1 || '-retry' and p.part = r.here
                   where r.stage = ?1 and r.topic = ?2 and r.part = up.part and r.off = up.off
                     and r.at >= coalesce(p.off, 0)),
       {history}
  from {upstream} up
  left join {place} here on here.id = up.id
  left join position on position.place = ?1 and position.part = up.part
 where here.id is null
"""
_WRONG = {
    "enriched": """
select here.id from enriched here join raw up on up.id = here.id group by here.id
having not max(coalesce(here.bytes = up.want, 0))""",
    "bigquery": """
select here.id from bigquery here join enriched up on up.id = here.id group by here.id
having not max(here.own = up.own and coalesce(here.joined = up.joined, 1)
               and coalesce(here.content = up.content, 1)
               and coalesce(here.off = up.off and here.part = up.part, 1))""",
    "http": """
select here.id from http here join enriched up on up.id = here.id group by here.id
having not max(here.bytes = up.bytes)""",
}
_UNKNOWN = """
select here.id from {place} here left join {upstream} up on up.id = here.id where up.id is null
"""


class Comparison:
    """Counts into places, keeps the first ids of each kind as findings; `details` are filled in later."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.findings: list[Finding] = []

    def found(self, place: Place, kind: Kind, ids: Iterable[int], detail: str = "") -> None:
        """Count every id, keep the first few."""
        count = 0
        kept = sum(f.place == place.name and f.kind == kind for f in self.findings)
        for count, event_id in enumerate(ids, 1):  # noqa: B007 - used after the loop
            if kept < EXAMPLES:
                kept += 1
                self.findings.append(Finding(place.name, kind, str(event_id), detail))
        setattr(place, kind, getattr(place, kind) + count)

    def doubled(self, place: Place, table: str) -> None:
        """Each event more than once."""
        for event_id, count in self._ledger.rows(_DOUBLED.format(place=table)):
            self.found(place, "doubled", [event_id], f"{count} times")

    def against_upstream(
        self, place: Place, stage: str, table: str, topic: str, *, trimmed: bool, history: bool = True
    ) -> None:
        """`table` holds what `stage` made of `topic`.

        `trimmed`: the place before has lost its oldest rows. `history`: the stage also delivers what the first copy
        found.
        """
        names = {"place": table, "upstream": _UPSTREAM[table], "history": "0" if history else "up.history"}
        place.rows = self._ledger.value(f"select count(*) from {table}")  # noqa: S608 - a name of ours
        self.doubled(place, table)
        missing = []
        for event_id, dead, behind, unwanted in self._ledger.rows(_ABSENT.format(**names), stage, topic):
            if dead:
                place.dead_lettered += 1
            elif unwanted:
                place.left_out += 1
            elif behind:
                place.in_flight += 1
            else:
                missing.append(event_id)
        self.found(place, "missing", missing)
        self.found(place, "wrong", self._ledger.ids(_WRONG[table]))
        if trimmed:
            place.left_out += self._ledger.value(f"select count(*) from ({_UNKNOWN.format(**names)})")  # noqa: S608 - as above
        else:
            self.found(
                place, "wrong", self._ledger.ids(_UNKNOWN.format(**names)), "the place before it does not have it"
            )

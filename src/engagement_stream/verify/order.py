"""Whether the events of one content follow each other as they did in the place before.

A break is an event that comes right after a later one of its content. Events without a content have no order; those
that are there twice, or went through the dead-letter queue and came back later, are passed over.

A stage may be further than the position it was asked for a moment before. What it made meanwhile waits for the next
round: the place before is read again only up to that position, so some of it would be compared without those between.
"""

from engagement_stream.verify.compare import UPSTREAM, Comparison, seen
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.report import Place

# In both places the first arrival counts; `was` is where the event stood in the place before.
_PAIRS = {
    "enriched": """
select here.id, here.key, here.off as at, up.off as was, 0 as idx, up.part, up.off
  from enriched here join raw up on up.id = here.id
 where {ready} and here.key is not null""",
    "http": """
select here.id, up.key, here.off as at, up.off as was, 0 as idx, up.part, up.off
  from http here join enriched up on up.id = here.id
 where {ready} and up.key is not null and here.bytes is not null""",  # what was backfilled has no order with the rest
    # Streamed changes alone: the first copy is in no order of commits.
    "raw": """
select here.id, here.key, here.off as at, here.lsn as was, here.idx, here.part, null as off
  from raw here
 where here.live and here.key is not null
   and here.off >= coalesce((select low from news where place = 'raw' and part = here.part), 0)""",
}
# The first round reads everything that the place before holds: nothing has been seen then.
_READY = """here.unordered and (not exists (select 1 from seen) or up.off < coalesce(
  (select high from passed where stage = '{stage}' and part = up.part), 0))"""
_ORDERED = """
update {place} set unordered = 0
 where unordered and (id in (select here.id from {place} here join {upstream} up on up.id = here.id where {ready})
                      or id in (select id from twice where place = '{place}') or not {seen})
"""
_REST = """
   and not exists (select 1 from twice where twice.id = here.id and twice.place in ('{place}', '{upstream}'))
   and not exists (select 1 from letter where stage = '{stage}' and topic = ?1 and letter.part = {part}
                   and letter.off = {off})
"""
_UP = {"enriched": ("raw", "up.part", "up.off"), "http": ("enriched", "up.part", "up.off"), "raw": ("raw", "-1", "-1")}
_STAGE = {"enriched": "enrich", "http": "http", "raw": "capture"}
_BREAKS = """
select id, was, before, idx < idx_b from (
  select id, was, idx,
         coalesce(lag(was) over one, (select at from newest n where n.place = '{place}' and n.key = pairs.key)) before,
         coalesce(lag(idx) over one, (select idx from newest n where n.place = '{place}' and n.key = pairs.key)) idx_b
    from ({pairs}) pairs window one as (partition by key order by at)
) where was < before or (was = before and idx < idx_b)
"""
_REMEMBER = "insert or replace into newest select '{place}', key, was, idx from ({pairs}) order by at"


def compare_order(comparison: Comparison, ledger: Ledger, place: Place, table: str, topic: str) -> None:
    """Count and name the breaks of what is compared in this round."""
    for event_id, was, before, _ in ledger.rows(_BREAKS.format(place=table, pairs=_pairs(table)), topic):
        comparison.found(place, "order_breaks", [event_id], _detail(table, was, before))


def remember_order(ledger: Ledger, table: str, topic: str) -> None:
    """For the next round: where the latest event of each content stood. To be done before new ids count as seen."""
    ledger.run(_REMEMBER.format(place=table, pairs=_pairs(table)), topic)
    if table in UPSTREAM:
        upstream = UPSTREAM[table]
        known = seen(upstream, f"{table}.id")
        ledger.run(_ORDERED.format(place=table, upstream=upstream, ready=_ready(table), seen=known))


def _pairs(table: str) -> str:
    upstream, part, off = _UP[table]
    pairs = _PAIRS[table].format(ready=_ready(table))
    return pairs + _REST.format(place=table, upstream=upstream, stage=_STAGE[table], part=part, off=off)


def _ready(table: str) -> str:
    return _READY.format(stage=_STAGE[table])


def _detail(table: str, was: int, before: int) -> str:
    if table == "raw":
        return f"committed at LSN {was}, after an event of its content that was committed at {before} or later"
    return f"its offset was {was}, it comes after an event of its content whose offset was {before}"

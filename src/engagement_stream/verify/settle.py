"""The end of a round: what was compared is forgotten but for its ids, what waits for its other half is kept."""

from engagement_stream.verify.compare import is_new, seen
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.order import remember_order

# Ids as ranges: neighbours differ from their rank by the same number.
_RUNS = """
select min(id), max(id) from (
  select id, id - row_number() over (order by id) as run
    from (select distinct id from {place} here where id is not null and {is_new} and {also})
) group by run
"""
# What a later round will read again, when the stage has come past it, is not new then.
_PASSED = "coalesce(here.off < (select high from passed where stage = 'bigquery' and part = here.part), 1)"
# A row whose other half was there, which is there twice, or which came from nowhere: all of that was told.
_CLOSE_ARRIVALS = f"""
update http set open = 0
 where open and (id in (select id from enriched) or id in (select id from twice where place = 'http')
                 or not {seen("enriched", "http.id")})
"""  # noqa: S608 - a constant of ours
_CLOSE_ENRICHED = f"""
update enriched set open = 0
 where open and (?1 or id in (select id from raw) or id in (select id from twice where place = 'enriched')
                 or not {seen("raw", "enriched.id")})
"""  # noqa: S608 - the same
_BEGIN = ("news", "passed", "twice", "waiting", "named", "bigquery")


def begin_round(ledger: Ledger) -> None:
    """Nothing is left of the round before but what waits."""
    for table in _BEGIN:
        ledger.run(f"delete from {table}")  # noqa: S608 - names of ours


def settle(ledger: Ledger, *, events_topic: str, enriched_topic: str, snapshot_lsn: int | None, trimmed: bool) -> None:
    """`snapshot_lsn`: None if PostgreSQL could not be read. `trimmed`: the raw topic has lost what we had not read."""
    for table, topic in (("raw", events_topic), ("enriched", events_topic), ("http", enriched_topic)):
        remember_order(ledger, table, topic)
    for place in ("raw", "enriched", "bigquery", "http"):
        _see(ledger, place)
    ledger.run(_CLOSE_ARRIVALS)
    ledger.run("delete from http where not open and not unordered")
    ledger.run(_CLOSE_ENRICHED, trimmed)
    ledger.run("delete from enriched where not open and not unordered")
    if snapshot_lsn is not None:
        _settle_source(ledger, snapshot_lsn)
    ledger.run("delete from raw where not open")
    ledger.run(
        "update letter set open = 0 where open and (topic not in (?1, ?2) or off < coalesce("
        "(select high from passed where passed.stage = letter.stage and passed.part = letter.part), 0))",
        events_topic,
        enriched_topic,
    )


def _settle_source(ledger: Ledger, snapshot_lsn: int) -> None:
    # A row that was committed after the snapshot meets its source in the next round.
    ledger.run(
        "update raw set open = 0 where open and id not in (select id from waiting)"
        " and (lsn < ? or id in (select id from source) or id in (select id from later))",
        snapshot_lsn,
    )
    ledger.run("delete from source where id not in (select id from waiting)")
    ledger.run(
        "delete from later where id not in (select id from raw where open) and id not in (select id from source)"
    )


def _see(ledger: Ledger, place: str) -> None:
    also = _PASSED if place == "bigquery" else "1"
    for first, last in ledger.rows(_RUNS.format(place=place, is_new=is_new(place), also=also)):
        _join(ledger, place, first, last)


def _join(ledger: Ledger, place: str, first: int, last: int) -> None:
    """Add a range to those that were seen, as one with its neighbours."""
    touching = [
        *ledger.rows(
            "select first, last from seen where place = ? and first < ? order by first desc limit 1", place, first
        ),
        *ledger.rows("select first, last from seen where place = ? and first between ? and ?", place, first, last + 1),
    ]
    for low, high in touching:
        if high >= first - 1:
            first, last = min(first, low), max(last, high)
            ledger.run("delete from seen where place = ? and first = ?", place, low)
    ledger.put("seen", [(place, first, last)])

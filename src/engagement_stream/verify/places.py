"""Every place of a round against the one before it, out of what the round has read.

What a place holds lies in the ledger; PostgreSQL is asked again only for rows that differ from what was captured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engagement_stream.capture.progress import Progress
from engagement_stream.model.position import format_lsn
from engagement_stream.settings import PostgresSettings, Settings
from engagement_stream.verify.compare import Comparison
from engagement_stream.verify.extent import Extent
from engagement_stream.verify.history import Source, compare_raw
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.letters import LettersRead, compare_letters
from engagement_stream.verify.order import compare_order
from engagement_stream.verify.receiver import Arrivals
from engagement_stream.verify.report import EXAMPLES, Finding, Place
from engagement_stream.verify.source import Snapshot, commit_times, rows_now
from engagement_stream.verify.state import State
from engagement_stream.verify.totals import Totals

_CHANGED_OR_NEW = """
select (select count(*) from later)
       + (select count(*) from raw left join source on source.id = raw.id where source.id is null)
"""
_LIVE_EVENTS = """
select count(*) from source
 where id not in (select id from letter where stage in ('capture', 'enrich', 'redis') and id is not null
                    and not replayed)
"""
POSTGRES, RAW, ENRICHED, BIGQUERY, HTTP, REDIS = "postgresql", "raw topic", "enriched", "bigquery", "receiver", "redis"


@dataclass(frozen=True, slots=True)
class Held:
    """What a round has read, beside the ledger and the state. None: that place could not be read, or is not asked."""

    raw: Extent
    enriched: Extent
    letters: LettersRead
    progress: Progress | None
    """Of capture; None as long as it has none."""
    malformed: int
    """Records of the enriched topic that are no events."""
    snapshot: Snapshot | None
    """Of PostgreSQL."""
    placeholders: int | None
    """Rows of BigQuery that stand for dead letters."""
    arrivals: Arrivals | None
    """Of the receiver."""
    redis: bool
    """Whether the totals were read."""
    stages: list[str]
    """Those that were followed to the place behind them."""


def compare_places(settings: Settings, state: State, held: Held, comparison: Comparison) -> Iterator[Place]:
    """The topics, the sinks that were read, and the dead letters; Redis has a comparison of its own."""
    kafka, ledger = settings.kafka, state.ledger
    raw_trimmed, enriched_trimmed = held.raw.trimmed(state.raw_next), held.enriched.trimmed(state.enriched_next)

    place = Place(RAW)
    if held.snapshot is not None:
        source = _source(settings.postgres, held.snapshot, held.progress)
        compare_raw(comparison, ledger, place, source, state.raw, trimmed=raw_trimmed)
    else:
        comparison.doubled(place, "raw")
    compare_order(comparison, ledger, place, "raw", kafka.events_topic)
    yield _noted(place, state.raw.unreadable, "records cannot be read")

    place = Place(ENRICHED)
    comparison.against_upstream(place, "enrich", "enriched", kafka.events_topic, trimmed=raw_trimmed)
    compare_order(comparison, ledger, place, "enriched", kafka.events_topic)
    yield _noted(place, held.malformed, "records cannot be read")

    if held.placeholders is not None:
        place = Place(BIGQUERY)
        comparison.against_upstream(place, "bigquery", "bigquery", kafka.enriched_topic, trimmed=enriched_trimmed)
        yield _noted(place, held.placeholders, "placeholder rows of dead letters")
    if held.arrivals is not None:
        place = Place(HTTP)
        history = settings.http.send_history
        comparison.against_upstream(
            place, "http", "http", kafka.enriched_topic, trimmed=enriched_trimmed, history=history
        )
        compare_order(comparison, ledger, place, "http", kafka.enriched_topic)
        place.wrong += held.arrivals.differing
        yield _noted(place, held.arrivals.differing, "came again with other data")

    yield compare_letters(comparison, ledger, [held.raw, held.enriched])


def compare_totals(
    state: State, begins: Sequence[int], replays_begin: Sequence[int], *, at_rest: bool
) -> tuple[Place, list[Finding]]:
    """The line of Redis. `begins`: of the enriched topic. `at_rest`: all events were read, and none is on its way."""
    totals = state.totals
    is_first = not totals.before.partitions
    rebuilt = sum(part.events for part in totals.rebuilt.values()) if is_first else 0
    place = Place(REDIS, rows=totals.events + rebuilt, in_flight=totals.behind)
    incomplete = totals.incomplete(begins, replays_begin)
    if incomplete:
        place.notes.append(
            f"partitions {', '.join(map(str, incomplete))} are not compared: retention has taken the oldest "
            "records of the enriched topic (`engagement rebuild redis` begins anew with PostgreSQL's totals)"
        )
    if rebuilt:
        lsn = format_lsn(max(part.lsn for part in totals.rebuilt.values()))
        place.notes.append(f"{rebuilt:,} events as a rebuild counted them in PostgreSQL at {lsn}, the rest by the log")
    differences = list(totals.differences(incomplete, state.contents.versions))
    if rebuilt and at_rest and (told := _against_source(totals, state.ledger)):
        differences.append(("all partitions", told))
    place.wrong = len(differences)
    return place, [Finding(REDIS, "wrong", what, how) for what, how in differences[:EXAMPLES]]


def _against_source(totals: Totals, ledger: Ledger) -> str:
    """What of a rebuilt Redis lies before the log, by PostgreSQL itself; only where nothing moves meanwhile."""
    if totals.behind or ledger.value(_CHANGED_OR_NEW):
        return ""
    events = ledger.value(_LIVE_EVENTS)
    return "" if events == totals.held else f"{totals.held:,} events are counted, PostgreSQL has {events:,}"


def _source(postgres: PostgresSettings, snapshot: Snapshot, progress: Progress | None) -> Source:
    return Source(
        lambda ids: rows_now(postgres, ids),
        lambda ids: commit_times(postgres, ids),
        snapshot.lsn,
        progress,
        history_captured=postgres.snapshot != "never",
    )


def _noted(place: Place, count: int, what: str) -> Place:
    """Nothing is noted of none."""
    if count:
        place.notes.append(f"{count} {what}")
    return place

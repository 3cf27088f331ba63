"""One run of the ledger, in the order that makes a moving system comparable.

PostgreSQL first: what its snapshot holds has to be in everything read after it, or behind a position. Then the sinks,
each after its position was asked, then the topics backwards: whatever a place holds, the place before it held earlier
and is read later, so nothing seems to come from nowhere.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from engagement_stream.broker.positions import committed
from engagement_stream.capture.progress import ProgressTopic
from engagement_stream.enrich.catalog import Version
from engagement_stream.errors import EngagementError, Fatal
from engagement_stream.model.position import format_lsn
from engagement_stream.settings import Settings
from engagement_stream.verify.compare import Comparison
from engagement_stream.verify.explain import explain
from engagement_stream.verify.history import Source, compare_raw
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.receiver import embedded_receiver, read_receiver
from engagement_stream.verify.report import EXAMPLES, Finding, Place, Report, Unreadable
from engagement_stream.verify.source import commit_times, read_source, rows_now
from engagement_stream.verify.topics import (
    extent,
    read_catalog,
    read_enriched,
    read_letters,
    read_raw,
    read_redis_replays,
)
from engagement_stream.verify.totals import Totals, read_totals

_CHANGED_OR_NEW = """
select (select count(*) from later)
       + (select count(*) from raw left join source on source.id = raw.id where source.id is null)
"""
_LIVE_EVENTS = """
select count(*) from source
 where id not in (select id from letter where stage in ('capture', 'enrich', 'redis') and id is not null
                    and not replayed)
"""
Tell = Callable[[str, int], None]
"""(place, rows more that were read)."""

POSTGRES, RAW, ENRICHED, BIGQUERY, HTTP, REDIS = "postgresql", "raw topic", "enriched", "bigquery", "receiver", "redis"


def verify(settings: Settings, data_dir: Path, *, since: datetime | None = None, tell: Tell | None = None) -> Report:
    """Compare everything once. `since`: only events that happened then or later (Redis is always compared whole)."""
    with Ledger() as ledger:
        return _Run(settings, data_dir, since, tell or _quietly, ledger).run()


def _quietly(_place: str, _rows: int) -> None:
    return


class _Run:
    def __init__(self, settings: Settings, data_dir: Path, since: datetime | None, tell: Tell, ledger: Ledger) -> None:
        self._settings, self._data_dir, self._tell, self._ledger = settings, data_dir, tell, ledger
        self._since = since and since.astimezone(UTC)
        self._since_us = None if since is None else int(since.timestamp() * 1_000_000)
        self._report = Report([], [], [], [], 0.0)
        self._sinks = {part.strip() for part in settings.stage.sinks.split(",")}

    def run(self) -> Report:
        began_s = time.monotonic()
        kafka, postgres, ledger = self._settings.kafka, self._settings.postgres, self._ledger
        since_text = None if self._since is None else self._since.isoformat()
        snapshot_lsn = totals = None
        differing = placeholders = malformed = 0
        read: set[str] = set()

        with self._reading(POSTGRES, "see that DATABASE_URL is right and the server runs"):
            rows = Place(POSTGRES)
            snapshot_lsn = read_source(postgres, since_text, ledger, self._telling(POSTGRES))
            rows.rows = ledger.value("select count(*) from source")
            self._report.places.append(rows)
        if "bigquery" in self._sinks:
            with self._reading(
                BIGQUERY, "see that BigQuery runs and that we may read (roles/bigquery.readSessionUser)"
            ):
                # Google's clients are a third of our memory: loaded only where there is something to ask.
                from engagement_stream.verify.bigquery import NoTable, read_bigquery

                self._note_position("bigquery")
                try:
                    placeholders = read_bigquery(self._settings.bigquery, since_text, ledger, self._telling(BIGQUERY))
                except NoTable:
                    self._report.notes.append("bigquery: there is no table yet")
                read.add(BIGQUERY)
        if "http" in self._sinks:
            differing = self._read_http(read)
        if "redis" in self._sinks:
            with self._reading(REDIS, "see that REDIS_URL is right and the server runs"):
                totals = read_totals(self._settings.redis, kafka.partitions, self._telling(REDIS))
        with self._reading("kafka", "see that KAFKA_BOOTSTRAP_SERVERS is right, the brokers run and the topics exist"):
            for partition, offset in committed(kafka, "enrich", kafka.events_topic).items():
                ledger.add("position", [("enrich", partition, offset or 0)])
            for partition, offset in committed(kafka, "enrich", kafka.retry_topic("enrich")).items():
                ledger.add("position", [("enrich-retry", partition, offset or 0)])
            read_letters(kafka, ledger)
            enriched = extent(kafka, kafka.enriched_topic, kafka.partitions)
            progress = ProgressTopic(kafka, postgres.slot).read().progress
            raw_held = extent(kafka, kafka.events_topic, kafka.partitions)
            raw = read_raw(kafka, raw_held, self._since_us, ledger, self._telling(RAW))
            take = totals.take if totals is not None else _look_away
            malformed = read_enriched(kafka, enriched, self._since_us, ledger, take, self._telling(ENRICHED))

            ledger.index()
            comparison = Comparison(ledger)
            place = Place(RAW)
            if snapshot_lsn is not None:
                source = Source(
                    lambda ids: rows_now(postgres, ids),
                    lambda ids: commit_times(postgres, ids),
                    snapshot_lsn,
                    progress,
                    history_captured=postgres.snapshot != "never",
                )
                compare_raw(comparison, ledger, place, source, raw, topic=kafka.events_topic, trimmed=raw_held.trimmed)
            else:
                place.rows = ledger.value("select count(*) from raw")
                comparison.doubled(place, "raw")
            self._add(place, raw.unreadable and f"{raw.unreadable} records cannot be read")
            place = Place(ENRICHED)
            comparison.against_upstream(place, "enrich", "enriched", kafka.events_topic, trimmed=raw_held.trimmed)
            self._add(place, malformed and f"{malformed} records cannot be read")
            if BIGQUERY in read:
                place = Place(BIGQUERY)
                comparison.against_upstream(
                    place, "bigquery", "bigquery", kafka.enriched_topic, trimmed=enriched.trimmed
                )
                self._add(place, placeholders and f"{placeholders} placeholder rows of dead letters")
            if HTTP in read:
                place = Place(HTTP)
                comparison.against_upstream(
                    place,
                    "http",
                    "http",
                    kafka.enriched_topic,
                    trimmed=enriched.trimmed,
                    history=self._settings.http.send_history,
                )
                place.wrong += differing
                self._add(place, differing and f"{differing} events came again with other data")
            self._report.findings.extend(explain(self._settings, self._data_dir, ledger, comparison.findings))
            if totals is not None:
                versions = read_catalog(kafka) if totals.rebuilt else {}
                replays_begin = read_redis_replays(kafka, totals.take_replay)
                self._compare_totals(totals, enriched.begins, replays_begin, versions)
        return Report(
            self._report.places,
            self._report.findings,
            self._report.unreadable,
            self._report.notes,
            time.monotonic() - began_s,
        )

    def _read_http(self, read: set[str]) -> int:
        differing = 0
        receiver = embedded_receiver(self._settings.http, self._data_dir)
        if receiver is None:
            self._report.notes.append(
                "http: a foreign REST system cannot be asked what it holds"
                if self._settings.http.url is not None
                else "http: EXTERNAL_API_URL is empty, nothing is sent"
            )
            return 0
        with self._reading(HTTP, "see that the embedded receiver runs (engagement status)"):
            self._note_position("http")
            differing = read_receiver(receiver, self._since_us, self._ledger, self._telling(HTTP))
            read.add(HTTP)
        return differing

    def _note_position(self, stage: str) -> None:
        kafka = self._settings.kafka
        for partition, offset in committed(kafka, stage, kafka.enriched_topic).items():
            self._ledger.add("position", [(stage, partition, offset or 0)])
        for partition, offset in committed(kafka, f"{stage}-retry", kafka.retry_topic(stage)).items():
            self._ledger.add("position", [(f"{stage}-retry", partition, offset or 0)])

    def _compare_totals(
        self,
        totals: Totals,
        begins: Sequence[int],
        replays_begin: Sequence[int],
        versions: Mapping[str, Sequence[Version]],
    ) -> None:
        rebuilt = sum(part.events for part in totals.rebuilt.values())
        place = Place(REDIS, rows=totals.events + rebuilt, in_flight=totals.behind)
        incomplete = totals.incomplete(begins, replays_begin)
        if incomplete:
            place.notes.append(
                f"partitions {', '.join(map(str, incomplete))} are not compared: retention has taken the oldest "
                "records of the enriched topic (`engagement rebuild redis` begins anew with PostgreSQL's totals)"
            )
        if totals.rebuilt:
            lsn = format_lsn(max(part.lsn for part in totals.rebuilt.values()))
            place.notes.append(
                f"{rebuilt:,} events as a rebuild counted them in PostgreSQL at {lsn}, the rest by the log"
            )
        differences = list(totals.differences(incomplete, versions))
        if totals.rebuilt and (told := self._against_source(totals)):
            differences.append(("all partitions", told))
        for what, how in differences:
            place.wrong += 1
            if place.wrong <= EXAMPLES:
                self._report.findings.append(Finding(REDIS, "wrong", what, how))
        self._report.places.append(place)

    def _against_source(self, totals: Totals) -> str:
        """What of a rebuilt Redis lies before the log, by PostgreSQL itself; only where nothing moves meanwhile."""
        ledger = self._ledger
        moving = totals.behind or any(place.in_flight for place in self._report.places)
        if moving or self._since is not None or ledger.value(_CHANGED_OR_NEW):
            return ""
        events = ledger.value(_LIVE_EVENTS)
        return "" if events == totals.held else f"{totals.held:,} events are counted, PostgreSQL has {events:,}"

    def _add(self, place: Place, note: str | int) -> None:
        if isinstance(note, str):
            place.notes.append(note)
        self._report.places.append(place)

    def _telling(self, place: str) -> Callable[[int], None]:
        return lambda rows: self._tell(place, rows)

    @contextmanager
    def _reading(self, place: str, remedy: str) -> Iterator[None]:
        """What cannot be read is told; the other places are compared all the same."""
        try:
            yield
        except Fatal as error:
            self._report.unreadable.append(Unreadable(place, str(error), error.remedy))
        except (EngagementError, psycopg.Error, OSError, ValueError) as error:
            self._report.unreadable.append(Unreadable(place, str(error).strip() or type(error).__name__, remedy))


def _look_away(_partition: int, _offset: int, _event: object) -> None:
    return

"""One round of the ledger, in the order that makes a moving system comparable.

PostgreSQL first: what its snapshot holds has to be in everything read after it, or behind a position. Then the sinks,
each after its position was asked, then the topics backwards: whatever a place holds, the place before it held earlier
and is read later, so nothing seems to come from nowhere.

Each place is read from where the last round ended. What a stage has come past since then is read once more from the
topic it reads, since only now it has to be in the place behind; so a stage that was away for a day costs its own
reading and no memory.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from engagement_stream.broker.positions import committed
from engagement_stream.capture.progress import Progress, ProgressTopic
from engagement_stream.errors import EngagementError, Fatal
from engagement_stream.model.position import format_lsn
from engagement_stream.settings import Settings
from engagement_stream.verify.compare import Comparison
from engagement_stream.verify.enriched_topic import read_enriched
from engagement_stream.verify.explain import explain
from engagement_stream.verify.extent import Extent, Offsets, Range, extent
from engagement_stream.verify.history import Source, compare_raw
from engagement_stream.verify.letters import (
    LettersRead,
    compare_letters,
    read_letters,
    read_redis_replays,
    replayed_ranges,
)
from engagement_stream.verify.order import compare_order
from engagement_stream.verify.raw_topic import read_raw
from engagement_stream.verify.receiver import Arrivals, embedded_receiver, read_receiver
from engagement_stream.verify.redis_totals import read_totals
from engagement_stream.verify.report import EXAMPLES, Finding, Place, Report, Unreadable
from engagement_stream.verify.settle import begin_round, settle
from engagement_stream.verify.source import Snapshot, commit_times, read_source, rows_now
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
Tell = Callable[[str, int], None]
"""(place, rows more that were read)."""

POSTGRES, RAW, ENRICHED, BIGQUERY, HTTP, REDIS = "postgresql", "raw topic", "enriched", "bigquery", "receiver", "redis"
KAFKA = "kafka"


class Round:
    """`run`, and `settle` if there is to be a next one: only then the state has moved on."""

    def __init__(
        self,
        settings: Settings,
        data_dir: Path,
        state: State,
        *,
        since: datetime | None = None,
        tell: Tell | None = None,
    ) -> None:
        self._settings, self._data_dir, self._state, self._tell = settings, data_dir, state, tell or _quietly
        self._ledger = state.ledger
        since = since and since.astimezone(UTC)
        self._since = None if since is None else since.isoformat()
        self._since_us = None if since is None else int(since.timestamp() * 1_000_000)
        self._report = Report([], [], [], [], 0.0)
        self._sinks = {part.strip() for part in settings.stage.sinks.split(",")}
        self._read: set[str] = set()
        self._passed: dict[str, dict[int, Range]] = {}
        self._snapshot: Snapshot | None = None
        self._arrivals = Arrivals(state.last_arrival)
        self._placeholders = 0
        self._held: dict[str, Extent] = {}
        self._letters = LettersRead()
        self._malformed = 0

    def run(self) -> Report:
        """Read and compare; what cannot be read is told, and the rest is compared all the same."""
        began_s = time.monotonic()
        begin_round(self._ledger)
        with self._reading(POSTGRES, "see that DATABASE_URL is right and the server runs"):
            self._read_postgres()
        if "bigquery" in self._sinks:
            remedy = "see that BigQuery runs and that we may read (roles/bigquery.readSessionUser)"
            with self._reading(BIGQUERY, remedy):
                self._read_bigquery()
        if "http" in self._sinks:
            with self._reading(HTTP, "see that the embedded receiver runs (engagement status)"):
                self._read_http()
        if "redis" in self._sinks:
            with self._reading(REDIS, "see that REDIS_URL is right and the server runs"):
                kafka = self._settings.kafka
                read_totals(self._settings.redis, kafka.partitions, self._state.totals, self._telling(REDIS))
                self._read.add(REDIS)
        with self._reading(KAFKA, "see that KAFKA_BOOTSTRAP_SERVERS is right, the brokers run and the topics exist"):
            self._read_topics_and_compare()
        return Report(
            self._report.places,
            self._report.findings,
            self._report.unreadable,
            self._report.notes,
            time.monotonic() - began_s,
        )

    def settle(self) -> None:
        """Let the state move on; not at all if Kafka could not be read, since then nothing was compared."""
        state = self._state
        if KAFKA not in self._read:
            return
        raw, enriched = self._held["raw"], self._held["enriched"]
        settle(
            self._ledger,
            events_topic=raw.topic,
            enriched_topic=enriched.topic,
            snapshot_lsn=None if self._snapshot is None else self._snapshot.lsn,
            trimmed=raw.trimmed(state.raw_next),
        )
        if REDIS in self._read:
            state.totals.settle()
        state.raw_next, state.enriched_next = dict(enumerate(raw.ends)), dict(enumerate(enriched.ends))
        state.letters = self._letters
        for stage, ranges in self._passed.items():
            state.followed[stage] = {partition: max(range_) for partition, range_ in ranges.items()}
        if self._snapshot is not None:
            state.ids = self._snapshot.ids
        state.last_arrival = self._arrivals.last
        state.rounds += 1

    def _read_postgres(self) -> None:
        postgres = self._settings.postgres
        rows = Place(POSTGRES)
        snapshot = read_source(postgres, self._since, self._state.ids, self._ledger, self._telling(POSTGRES))
        rows.rows = self._ledger.value("select count(*) from source")
        self._report.places.append(rows)
        self._snapshot = snapshot

    def _read_bigquery(self) -> None:
        self._note_position("bigquery")
        ranges = {p: part for p, part in self._passed["bigquery"].items() if part[0] < part[1]}
        if self._is_first or ranges:
            # Google's clients are a third of our memory: loaded only where there is something to ask.
            from engagement_stream.verify.bigquery import NoTable, read_bigquery

            try:
                self._placeholders = read_bigquery(
                    self._settings.bigquery,
                    self._since,
                    None if self._is_first else ranges,
                    self._ledger,
                    self._telling(BIGQUERY),
                )
            except NoTable:
                self._report.notes.append("bigquery: there is no table yet")
        self._read.add(BIGQUERY)

    def _read_http(self) -> None:
        receiver = embedded_receiver(self._settings.http, self._data_dir)
        if receiver is None:
            self._report.notes.append(
                "http: a foreign REST system cannot be asked what it holds"
                if self._settings.http.url is not None
                else "http: EXTERNAL_API_URL is empty, nothing is sent"
            )
            return
        self._note_position("http")
        self._arrivals = read_receiver(receiver, self._since_us, self._ledger, self._arrivals, self._telling(HTTP))
        self._ledger.put("news", [("http", 0, self._state.last_arrival + 1)])
        self._read.add(HTTP)

    def _note_position(self, stage: str) -> None:
        """In its topic, and in that of the dead letters that are sent back to it."""
        kafka = self._settings.kafka
        topic = kafka.events_topic if stage == "enrich" else kafka.enriched_topic
        for group, of in ((stage, topic), (f"{stage}-retry", kafka.retry_topic(stage))):
            self._passed.pop(group, None)
            before = self._state.followed.get(group, {})
            ranges = {p: (before.get(p, 0), offset or 0) for p, offset in committed(kafka, group, of).items()}
            self._ledger.put("passed", [(group, p, low, high) for p, (low, high) in ranges.items()])
            self._passed[group] = ranges

    def _read_topics_and_compare(self) -> None:
        kafka, state, ledger = self._settings.kafka, self._state, self._ledger
        self._note_position("enrich")
        self._letters = read_letters(kafka, state.letters, ledger)
        enriched = extent(kafka, kafka.enriched_topic, kafka.partitions)
        progress = ProgressTopic(kafka, self._settings.postgres.slot).read().progress
        raw = extent(kafka, kafka.events_topic, kafka.partitions)
        self._held = {"raw": raw, "enriched": enriched}
        state.contents.read(kafka)
        ledger.put("news", [("raw", p, state.raw_next.get(p, 0)) for p in range(kafka.partitions)])
        ledger.put("news", [("enriched", p, state.enriched_next.get(p, 0)) for p in range(kafka.partitions)])
        read_raw(
            kafka,
            raw,
            self._wanted(state.raw_next, raw, "enrich"),
            state.raw_next,
            state.contents,
            state.raw,
            self._since_us,
            ledger,
            self._telling(RAW),
        )
        wanted = self._wanted(state.enriched_next, enriched, "bigquery", "http")
        with_redis = REDIS in self._read
        if with_redis:
            for partition, end in state.totals.ends.items():
                wanted[partition].append((state.totals.starts(partition)[0], end))
        self._malformed = read_enriched(
            kafka,
            enriched,
            wanted,
            state.enriched_next,
            self._since_us,
            ledger,
            state.totals.take if with_redis else _look_away,
            self._telling(ENRICHED),
        )
        ledger.index()
        self._compare(progress)
        self._read.add(KAFKA)

    def _wanted(self, start: Offsets, held: Extent, *stages: str) -> dict[int, list[Range]]:
        """What is new, what these stages have come past, and what was sent back to them."""
        wanted: dict[int, list[Range]] = {p: [(start.get(p, 0), end)] for p, end in enumerate(held.ends)}
        for stage in stages:
            for partition, part in self._passed.get(stage, {}).items():
                wanted[partition].append(part)
            for partition, part in replayed_ranges(self._ledger, stage, held.topic):
                wanted[partition].append(part)
        return wanted

    def _compare(self, progress: Progress | None) -> None:
        kafka, ledger, state = self._settings.kafka, self._ledger, self._state
        raw, enriched = self._held["raw"], self._held["enriched"]
        comparison = Comparison(ledger)
        raw_trimmed, enriched_trimmed = raw.trimmed(state.raw_next), enriched.trimmed(state.enriched_next)

        place = Place(RAW)
        if self._snapshot is not None:
            compare_raw(
                comparison, ledger, place, self._source(self._snapshot, progress), state.raw, trimmed=raw_trimmed
            )
        else:
            comparison.doubled(place, "raw")
        compare_order(comparison, ledger, place, "raw", kafka.events_topic)
        self._add(place, state.raw.unreadable and f"{state.raw.unreadable} records cannot be read")

        place = Place(ENRICHED)
        comparison.against_upstream(place, "enrich", "enriched", kafka.events_topic, trimmed=raw_trimmed)
        compare_order(comparison, ledger, place, "enriched", kafka.events_topic)
        self._add(place, self._malformed and f"{self._malformed} records cannot be read")

        if BIGQUERY in self._read:
            place = Place(BIGQUERY)
            comparison.against_upstream(place, "bigquery", "bigquery", kafka.enriched_topic, trimmed=enriched_trimmed)
            self._add(place, self._placeholders and f"{self._placeholders} placeholder rows of dead letters")
        if HTTP in self._read:
            place = Place(HTTP)
            history = self._settings.http.send_history
            comparison.against_upstream(
                place, "http", "http", kafka.enriched_topic, trimmed=enriched_trimmed, history=history
            )
            compare_order(comparison, ledger, place, "http", kafka.enriched_topic)
            place.wrong += self._arrivals.differing
            self._add(place, self._arrivals.differing and f"{self._arrivals.differing} came again with other data")

        place = compare_letters(comparison, ledger, [raw, enriched])
        self._report.places.append(place)
        self._report.findings.extend(explain(self._settings, self._data_dir, ledger, comparison.findings))
        if REDIS in self._read:
            self._compare_totals(enriched)

    def _source(self, snapshot: Snapshot, progress: Progress | None) -> Source:
        postgres = self._settings.postgres
        return Source(
            lambda ids: rows_now(postgres, ids),
            lambda ids: commit_times(postgres, ids),
            snapshot.lsn,
            progress,
            history_captured=postgres.snapshot != "never",
        )

    def _compare_totals(self, enriched: Extent) -> None:
        totals = self._state.totals
        replays = {p: (totals.starts(p)[1], end) for p, end in totals.replay_ends.items()}
        replays_begin = read_redis_replays(self._settings.kafka, replays, totals.take_replay)
        rebuilt = sum(part.events for part in totals.rebuilt.values()) if self._is_first else 0
        place = Place(REDIS, rows=totals.events + rebuilt, in_flight=totals.behind)
        incomplete = totals.incomplete(enriched.begins, replays_begin)
        if incomplete:
            place.notes.append(
                f"partitions {', '.join(map(str, incomplete))} are not compared: retention has taken the oldest "
                "records of the enriched topic (`engagement rebuild redis` begins anew with PostgreSQL's totals)"
            )
        if rebuilt:
            lsn = format_lsn(max(part.lsn for part in totals.rebuilt.values()))
            place.notes.append(
                f"{rebuilt:,} events as a rebuild counted them in PostgreSQL at {lsn}, the rest by the log"
            )
        differences = list(totals.differences(incomplete, self._state.contents.versions))
        if rebuilt and (told := self._against_source(totals)):
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

    @property
    def _is_first(self) -> bool:
        return self._state.rounds == 0

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


def _quietly(_place: str, _rows: int) -> None:
    return


def _look_away(_partition: int, _offset: int, _event: object) -> None:
    return

"""What a round reads, place by place: from where the last round ended, and what the stages have come past since.

Rows go into the ledger, totals into the state; what remains is small and is handed on as `Held`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from engagement_stream.capture.progress import ProgressTopic
from engagement_stream.settings import Settings
from engagement_stream.verify.enriched_topic import read_enriched
from engagement_stream.verify.extent import extent
from engagement_stream.verify.letters import read_letters
from engagement_stream.verify.passed import Passed
from engagement_stream.verify.places import BIGQUERY, ENRICHED, HTTP, POSTGRES, RAW, REDIS, Held
from engagement_stream.verify.raw_topic import read_raw
from engagement_stream.verify.receiver import Arrivals, embedded_receiver, read_receiver
from engagement_stream.verify.redis_totals import read_totals
from engagement_stream.verify.report import Place
from engagement_stream.verify.source import Snapshot, read_source
from engagement_stream.verify.state import State

Tell = Callable[[str, int], None]
"""(place, rows more that were read)."""


class Reading:
    """Each place has a method of its own, so that one that cannot be read leaves the others; `topics` comes last."""

    def __init__(
        self, settings: Settings, data_dir: Path, state: State, passed: Passed, since: datetime | None, tell: Tell
    ) -> None:
        self._settings, self._data_dir, self._state, self._passed, self._tell = settings, data_dir, state, passed, tell
        self._ledger = state.ledger
        since = since and since.astimezone(UTC)
        self._since = None if since is None else since.isoformat()
        self._since_us = None if since is None else int(since.timestamp() * 1_000_000)
        self._snapshot: Snapshot | None = None
        self._placeholders: int | None = None
        self._arrivals: Arrivals | None = None
        self._redis = False
        self.notes: list[str] = []
        """On places that hold nothing, or cannot be asked."""

    def postgres(self) -> Place:
        """It is compared with nothing: the line of PostgreSQL only counts."""
        postgres = self._settings.postgres
        snapshot = read_source(postgres, self._since, self._state.ids, self._ledger, self._telling(POSTGRES))
        self._snapshot = snapshot
        return Place(POSTGRES, rows=self._ledger.value("select count(*) from source"))

    def bigquery(self) -> None:
        ranges = {p: part for p, part in self._passed.note("bigquery").items() if part[0] < part[1]}
        is_first = self._passed.is_first("bigquery")
        placeholders = 0
        if is_first or ranges:
            # Google's clients are a third of our memory: loaded only where there is something to ask.
            from engagement_stream.verify.bigquery import NoTable, read_bigquery

            try:
                with self._whole("delete from bigquery"):
                    placeholders = read_bigquery(
                        self._settings.bigquery,
                        self._since,
                        None if is_first else ranges,
                        self._ledger,
                        self._telling(BIGQUERY),
                    )
            except NoTable:
                self.notes.append("bigquery: there is no table yet")
        self._placeholders = placeholders

    def http(self) -> None:
        receiver = embedded_receiver(self._settings.http, self._data_dir)
        if receiver is None:
            self.notes.append(
                "http: a foreign REST system cannot be asked what it holds"
                if self._settings.http.url is not None
                else "http: EXTERNAL_API_URL is empty, nothing is sent"
            )
            return
        self._passed.note("http")
        last = self._state.last_arrival
        with self._whole("delete from http where off > ?", last):
            self._arrivals = read_receiver(receiver, self._since_us, self._ledger, Arrivals(last), self._telling(HTTP))
        self._ledger.put("news", [("http", 0, last + 1)])

    def redis(self) -> None:
        partitions = self._settings.kafka.partitions
        read_totals(self._settings.redis, partitions, self._state.totals, self._telling(REDIS))
        self._redis = True

    def topics(self) -> Held:
        """Backwards: what the enriched topic held is asked for before what the raw topic held."""
        kafka, state, ledger = self._settings.kafka, self._state, self._ledger
        self._passed.note("enrich")
        letters = read_letters(kafka, state.letters, ledger)
        enriched = extent(kafka, kafka.enriched_topic, kafka.partitions)
        progress = ProgressTopic(kafka, self._settings.postgres.slot).read().progress
        raw = extent(kafka, kafka.events_topic, kafka.partitions)
        state.contents.read(kafka)
        ledger.put("news", [("raw", p, state.raw_next.get(p, 0)) for p in range(kafka.partitions)])
        ledger.put("news", [("enriched", p, state.enriched_next.get(p, 0)) for p in range(kafka.partitions)])
        read_raw(
            kafka,
            raw,
            self._passed.wanted(state.raw_next, raw, "enrich"),
            state.raw_next,
            state.contents,
            state.raw,
            self._since_us,
            ledger,
            self._telling(RAW),
        )
        places = [("bigquery", self._placeholders), ("http", self._arrivals)]
        sinks = [sink for sink, read in places if read is not None]
        wanted = self._passed.wanted(state.enriched_next, enriched, *sinks)
        if self._redis:
            for partition, end in state.totals.ends.items():
                wanted[partition].append((state.totals.starts(partition)[0], end))
        malformed = read_enriched(
            kafka,
            enriched,
            wanted,
            state.enriched_next,
            self._since_us,
            ledger,
            state.totals.take if self._redis else _look_away,
            self._telling(ENRICHED),
        )
        ledger.index()
        return Held(
            raw,
            enriched,
            letters,
            progress,
            malformed,
            self._snapshot,
            self._placeholders,
            self._arrivals,
            self._redis,
            ["enrich", *sinks],
        )

    @contextmanager
    def _whole(self, undo: str, *values: object) -> Iterator[None]:
        """A place that breaks off is read again: what came of it must not look as if it had been there before."""
        try:
            yield
        except BaseException:
            self._ledger.run(undo, *values)
            raise

    def _telling(self, place: str) -> Callable[[int], None]:
        return lambda rows: self._tell(place, rows)


def _look_away(_partition: int, _offset: int, _event: object) -> None:
    return

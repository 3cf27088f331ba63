"""One round of the ledger, in the order that makes a moving system comparable.

PostgreSQL first: what its snapshot holds has to be in everything read after it, or behind a position. Then the sinks,
each after its position was asked, then the topics backwards: whatever a place holds, the place before it held earlier
and is read later, so nothing seems to come from nowhere.

Each place is read from where the last round ended. What a stage has come past since then is read once more from the
topic it reads, since only now it has to be in the place behind; so a stage that was away for a day costs its own
reading and no memory.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg

from engagement_stream.errors import EngagementError, Fatal
from engagement_stream.settings import Settings
from engagement_stream.verify.compare import Comparison
from engagement_stream.verify.explain import explain
from engagement_stream.verify.letters import read_redis_replays
from engagement_stream.verify.passed import Passed
from engagement_stream.verify.places import BIGQUERY, HTTP, POSTGRES, REDIS, Held, compare_places, compare_totals
from engagement_stream.verify.reading import Reading, Tell
from engagement_stream.verify.report import Report, Unreadable
from engagement_stream.verify.settle import begin_round, settle
from engagement_stream.verify.state import State

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
        self._settings, self._data_dir, self._state, self._since = settings, data_dir, state, since
        self._sinks = {part.strip() for part in settings.stage.sinks.split(",")}
        self._passed = Passed(settings.kafka, state)
        self._reading = Reading(settings, data_dir, state, self._passed, since, tell or _quietly)
        self._report = Report([], [], [], self._reading.notes, 0.0)
        self._compared: Held | None = None

    def run(self) -> Report:
        """Read and compare; what cannot be read is told, and the rest is compared all the same."""
        began_s = time.monotonic()
        begin_round(self._state.ledger)
        with self._readable(POSTGRES, "see that DATABASE_URL is right and the server runs"):
            self._report.places.append(self._reading.postgres())
        if "bigquery" in self._sinks:
            remedy = "see that BigQuery runs and that we may read (roles/bigquery.readSessionUser)"
            with self._readable(BIGQUERY, remedy):
                self._reading.bigquery()
        if "http" in self._sinks:
            with self._readable(HTTP, "see that the embedded receiver runs (engagement status)"):
                self._reading.http()
        if "redis" in self._sinks:
            with self._readable(REDIS, "see that REDIS_URL is right and the server runs"):
                self._reading.redis()
        with self._readable(KAFKA, "see that KAFKA_BOOTSTRAP_SERVERS is right, the brokers run and the topics exist"):
            held = self._reading.topics()
            self._compare(held)
            self._compared = held
        return Report(
            self._report.places,
            self._report.findings,
            self._report.unreadable,
            self._report.notes,
            time.monotonic() - began_s,
        )

    def settle(self) -> None:
        """Let the state move on; not at all if Kafka could not be read, since then nothing was compared."""
        state, held = self._state, self._compared
        if held is None:
            return
        settle(
            state.ledger,
            events_topic=held.raw.topic,
            enriched_topic=held.enriched.topic,
            snapshot_lsn=None if held.snapshot is None else held.snapshot.lsn,
            trimmed=held.raw.trimmed(state.raw_next),
        )
        if held.redis:
            state.totals.settle()
        state.raw_next, state.enriched_next = dict(enumerate(held.raw.ends)), dict(enumerate(held.enriched.ends))
        state.letters = held.letters
        self._passed.settle(held.stages)
        if held.snapshot is not None:
            state.ids = held.snapshot.ids
        if held.arrivals is not None:
            state.last_arrival = held.arrivals.last

    def _compare(self, held: Held) -> None:
        state, report = self._state, self._report
        comparison = Comparison(state.ledger)
        report.places.extend(compare_places(self._settings, state, held, comparison))
        report.findings.extend(explain(self._settings, self._data_dir, state.ledger, comparison.findings))
        if held.redis:
            self._compare_totals(held)

    def _compare_totals(self, held: Held) -> None:
        """The replays to Redis are the last that is missing in the fold."""
        totals, report = self._state.totals, self._report
        replays = {p: (totals.starts(p)[1], end) for p, end in totals.replay_ends.items()}
        replays_begin = read_redis_replays(self._settings.kafka, replays, totals.take_replay)
        at_rest = self._since is None and not any(place.in_flight for place in report.places)
        place, findings = compare_totals(self._state, held.enriched.begins, replays_begin, at_rest=at_rest)
        report.places.append(place)
        report.findings.extend(findings)

    @contextmanager
    def _readable(self, place: str, remedy: str) -> Iterator[None]:
        """What cannot be read is told; the other places are compared all the same."""
        try:
            yield
        except Fatal as error:
            self._report.unreadable.append(Unreadable(place, str(error), error.remedy))
        except (EngagementError, psycopg.Error, OSError, ValueError) as error:
            self._report.unreadable.append(Unreadable(place, str(error).strip() or type(error).__name__, remedy))


def _quietly(_place: str, _rows: int) -> None:
    return

"""One backfill into BigQuery, step by step; killed after any of them, the next run begins with the first.

1. Be the only backfill of this target. 2. Take a snapshot. 3. Compare each day's sums on both sides: days that are the
same are done. 4. Pass the watermark: nothing that the snapshot sees is on its way any more. 5. Read the content's
history. 6. Stage and insert what is missing, some days or a part of a day at a time. 7. Compare again.
"""

import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from google.cloud import bigquery

from engagement_stream.backfill.dates import DayRange
from engagement_stream.backfill.deliver import Delivery, patiently
from engagement_stream.backfill.known import Known, known_of_live, known_of_table
from engagement_stream.backfill.pace import Pace
from engagement_stream.backfill.plan import FAST, FAST_HERE, GENTLE, Day, Sums, Unit, at_rate, days, units
from engagement_stream.backfill.present import present
from engagement_stream.backfill.progress import DayState, Note, Planned, Report, State, Tell
from engagement_stream.backfill.snapshot import Snapshot, take_snapshot
from engagement_stream.backfill.source import Reader
from engagement_stream.backfill.watermark import PATIENCE_S, WatermarkPass, require_no_sink
from engagement_stream.settings import Settings
from engagement_stream.sinks.bigquery.client import rest_client, uses_emulator
from engagement_stream.sinks.bigquery.errors import translated
from engagement_stream.sinks.bigquery.exclusive import INSERT, Held, exclusive
from engagement_stream.sinks.bigquery.insert_missing import Inserted, insert_missing
from engagement_stream.sinks.bigquery.job_chain import JobChain
from engagement_stream.sinks.bigquery.staging import Staging
from engagement_stream.sinks.bigquery.table import ensure_table

_KIND = "backfill_"


@dataclass(frozen=True, slots=True)
class Options:
    """How to go about it. `patience_s`: how long a stage that is waited for may stand still."""

    rows_per_s: float | None = None
    without_live: bool = False
    patience_s: float = PATIENCE_S


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do."""

    days: list[Day]
    row_bytes: int
    """About what a row takes."""


def preview(settings: Settings, wanted: DayRange) -> Preview:
    """Look at both sides, change nothing. Raises Retry, Fatal."""
    with take_snapshot(settings.postgres) as snapshot, _client(settings) as client:
        return Preview(
            days(snapshot.days(wanted), present(client, settings.bigquery, wanted)),
            snapshot.row_bytes(),
        )


class Backfill:
    """`tell` may be called from several threads; `stop` ends it after what is under way."""

    def __init__(
        self, settings: Settings, wanted: DayRange, options: Options, tell: Tell, stop: threading.Event
    ) -> None:
        self._settings, self._wanted, self._options = settings, wanted, options
        self._tell, self._stop = tell, stop
        self._token = secrets.token_hex(5)
        self._report = Report()
        emulator = uses_emulator(settings.bigquery)
        self._gentle = emulator and not options.without_live
        cut = GENTLE if self._gentle else FAST_HERE if emulator else FAST
        self._cut = at_rate(cut, options.rows_per_s)

    def run(self) -> Report:
        """Raises ConfigurationError, Retry, Fatal; what was inserted until then stays."""
        began_s = time.monotonic()
        postgres, target = self._settings.postgres, self._settings.bigquery
        who = f"backfill of {self._wanted}"
        with exclusive(postgres, target, "backfill", who, self._others, stopped=self._stop.is_set) as held:
            if held is not None:
                with _client(self._settings) as client:
                    self._run(client, held)
        self._report.stopped = self._stop.is_set()
        self._report.seconds = time.monotonic() - began_s
        return self._report

    def _run(self, client: bigquery.Client, held: Held) -> None:
        target = self._settings.bigquery
        patiently(lambda: ensure_table(client, target), self._stop.is_set)
        staging = Staging(client, target, _KIND + self._token)
        staging.drop_leftovers(_KIND)
        with take_snapshot(self._settings.postgres) as snapshot:
            source = snapshot.days(self._wanted)
            found = days(source, present(client, target, self._wanted))
            todo = units(found, self._cut.rows_per_insert)
            self._report.days = len(found)
            self._report.complete_before = sum(day.complete for day in found)
            self._tell(Planned(found, sum(unit.rows for unit in todo)))
            if not todo:
                return
            pace = Pace(
                None if self._options.without_live else self._settings.kafka,
                self._options.rows_per_s,
                self._stop.is_set,
                gentle=self._gentle,
            )
            pace.look_idle()
            known = self._known(snapshot, pace)
            if known is None:
                return
            with Reader(
                self._settings.postgres, snapshot.name, version=snapshot.version, commit_times=snapshot.commit_times
            ) as reader:
                self._deliver(client, held, reader, known, staging, pace, todo)
            staging.drop_leftovers(_KIND + self._token)
            self._report.rested_s = pace.rested_s
            self._compare(source, present(client, target, self._wanted))

    def _compare(self, source: Mapping[date, Sums], target: Mapping[date, Sums]) -> None:
        """What is still missing of the snapshot; and what the target holds beyond the source as it is *now*."""
        after = days(source, target)
        self._report.missing = [day for day in after if day.missing]
        if any(day.target.rows > day.source.rows for day in after):
            with take_snapshot(self._settings.postgres) as later:
                now = days(later.days(self._wanted), target)
            self._report.beyond = [day for day in now if day.target.rows > day.source.rows]

    def _known(self, snapshot: Snapshot, pace: Pace) -> Known | None:
        """What to join with; None when a person stopped us while we waited."""
        kafka, postgres = self._settings.kafka, self._settings.postgres
        if self._options.without_live:
            patiently(
                lambda: require_no_sink(kafka, postgres), self._stop.is_set
            )  # a new Kafka: its groups take a while
            return known_of_table(snapshot)
        tell = lambda text: self._tell(Note(text))  # noqa: E731 - one line of it

        def stopped() -> bool:
            pace.look_idle()
            return self._stop.is_set()

        mark = WatermarkPass(postgres, kafka, f"backfill {self._token}", tell, stopped, self._options.patience_s)
        return known_of_live(kafka) if mark.run() else None

    def _deliver(
        self,
        client: bigquery.Client,
        held: Held,
        reader: Reader,
        known: Known,
        staging: Staging,
        pace: Pace,
        todo: list[Unit],
    ) -> None:
        target, postgres = self._settings.bigquery, self._settings.postgres

        def insert(tables: list[str], since: datetime, until: datetime) -> Inserted:
            held.check()
            with exclusive(postgres, target, INSERT, "backfill", self._others) as lock:
                assert lock is not None
                chain = JobChain(client, target, lock.today)
                chain.settle()
                with pace.job():
                    lock.check()
                    return insert_missing(target, chain, tables, since, until)

        delivery = Delivery(
            reader, known, staging, insert, pace, self._report, self._tell, self._stop.is_set, self._cut
        )
        try:
            for unit in todo:
                if self._stop.is_set():
                    break
                self._mark(unit, "reading")
                delivery.deliver(unit, lambda unit=unit: self._mark(unit, "done"))  # type: ignore[misc]  # bound now
            delivery.finish()
        except BaseException:
            delivery.abandon()
            raise

    def _mark(self, unit: Unit, state: State) -> None:
        day: date = unit.first
        while day <= unit.last:
            self._tell(DayState(day, state))
            day += timedelta(days=1)

    def _others(self, holder: str) -> None:
        self._tell(Note(f"waiting: {holder} is at it"))


@contextmanager
def _client(settings: Settings) -> Iterator[bigquery.Client]:
    with translated("connecting"):
        client = rest_client(settings.bigquery)
    with closing(client):
        yield client

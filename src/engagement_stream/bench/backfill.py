"""How fast past days go into BigQuery, where the limit is, and what live traffic notices of it."""

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil
import pyarrow as pa

from engagement_stream.backfill.chunks import chunks
from engagement_stream.backfill.dates import DayRange
from engagement_stream.backfill.deliver import CHUNK_BYTES
from engagement_stream.backfill.history import table_history
from engagement_stream.backfill.memory import give_back_at_once
from engagement_stream.backfill.plan import FAST
from engagement_stream.backfill.rules import enrich_columns
from engagement_stream.backfill.run import Backfill, Options
from engagement_stream.backfill.snapshot import take_snapshot
from engagement_stream.backfill.source import Reader
from engagement_stream.bench.latency import SINKS
from engagement_stream.bench.quantile import added, quantile_s
from engagement_stream.bench.rig import Rig, StageProcess, stop_process
from engagement_stream.settings import Settings
from engagement_stream.sinks.bigquery.client import rest_client
from engagement_stream.sinks.bigquery.insert_missing import insert_missing
from engagement_stream.sinks.bigquery.job_chain import JobChain
from engagement_stream.sinks.bigquery.staging import Staging, parquet
from engagement_stream.sinks.bigquery.table import ensure_table, table_name

DAYS = 10
_LIMIT_S = 1_800.0
_WARM_UP_S, _IDLE_S = 10.0, 30.0
_BESIDE = "backfill_beside_live"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BackfillFigure:
    """One part of the way alone, or the whole. `peak_mb`: resident memory of the reading process at most."""

    what: str
    rows: int
    seconds: float
    peak_mb: float
    cpu_s: dict[str, float]
    """CPU time of the reading process, of PostgreSQL and of the emulator."""

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds

    def cpu_us_per_row(self) -> dict[str, float]:
        """Who works how long for a row."""
        return {name: seconds * 1e6 / max(self.rows, 1) for name, seconds in self.cpu_s.items()}


def limit(figures: list[BackfillFigure]) -> str:
    """One sentence: which part alone is the slowest, and how near the whole comes to it."""
    *parts, whole = figures
    slowest = min(parts, key=lambda part: part.rows_per_s)
    busy = sum(whole.cpu_s.values()) / whole.seconds
    return (
        f"the limit: {slowest.what} ({slowest.rows_per_s:,.0f} rows/s); the whole reaches "
        f"{whole.rows_per_s / slowest.rows_per_s:.0%} of it and keeps {busy:.1f} cores busy"
    )


@dataclass(frozen=True, slots=True)
class LiveFigure:
    """A sink's commit-to-durable p99 without and with a backfill beside it, in seconds."""

    sink: str
    idle_p99_s: float
    beside_p99_s: float

    @property
    def ratio(self) -> float:
        """At most 2 is promised."""
        return self.beside_p99_s / self.idle_p99_s


def fill(rig: Rig, rows: int, tell: Tell) -> DayRange:
    """So many events of the last days; the whole range."""
    tell(f"writing {rows:,} events into PostgreSQL ...")
    writer = rig.generate("historical", "--historical-days", str(DAYS), "--rows", str(rows))
    if writer.wait(_LIMIT_S) != 0:
        raise RuntimeError("the generator failed; see its log")
    today = datetime.now(UTC).date()
    return DayRange(today - timedelta(days=DAYS), today)


def measure_parts(rig: Rig, wanted: DayRange, tell: Tell) -> list[BackfillFigure]:
    """The reader alone, the emulator alone, the whole; no pipeline runs."""
    give_back_at_once()
    found = []
    for what, work in (("reader alone", _read), ("emulator alone", _load), ("the whole", _whole)):
        tell(f"measuring {what} ...")
        found.append(_measured(rig, what, lambda work=work: work(rig.settings, wanted)))  # type: ignore[misc]  # bound now
    return found


def measure_live(rig: Rig, wanted: DayRange, rate_per_s: float, tell: Tell) -> tuple[BackfillFigure, list[LiveFigure]]:
    """Live traffic through all stages into an empty dataset; then `engagement backfill` of everything beside it."""
    rig.environment |= {"BIGQUERY_DATASET_ID": _BESIDE, "CAPTURE_SNAPSHOT": "never"}
    with rig.stages("capture", "enrich", *SINKS) as running:
        traffic = rig.generate("continuous", "--rate", f"{rate_per_s:g}", "--fixed-content")
        try:
            tell(f"live traffic of {rate_per_s:,.0f} events/s, without a backfill ...")
            time.sleep(_WARM_UP_S)
            before = _buckets(running)
            time.sleep(_IDLE_S)
            idle = _buckets(running)
            tell("and with one ...")
            figure = _run_command(rig, wanted)
            beside = _buckets(running)
        finally:
            stop_process(traffic)
    return figure, [
        LiveFigure(
            name,
            quantile_s(added(before[name], idle[name]), 0.99),
            quantile_s(added(idle[name], beside[name]), 0.99),
        )
        for name in SINKS
    ]


def _run_command(rig: Rig, wanted: DayRange) -> BackfillFigure:
    """What a person would run, as a process of its own; the rows are counted where they arrive."""
    began_s, peak, servers = time.monotonic(), 0, rig.servers_cpu_s()
    cpu_s = dict.fromkeys(("ours", "postgres", "emulator"), 0.0)
    process = rig.backfill("--start-date", str(wanted.first), "--end-date", str(wanted.last))
    usage = psutil.Process(process.pid)
    try:
        while process.poll() is None:
            if time.monotonic() - began_s > _LIMIT_S:
                raise RuntimeError(f"the backfill did not end within {_LIMIT_S:.0f} s; see its log")
            with suppress(psutil.Error):
                peak = max(peak, usage.memory_info().rss)
                cpu_s["ours"] = sum(usage.cpu_times()[:2])
            time.sleep(0.05)
    finally:
        stop_process(process)
    seconds = time.monotonic() - began_s
    cpu_s |= {name: spent - servers[name] for name, spent in rig.servers_cpu_s().items() if name in cpu_s}
    if process.returncode != 0:
        raise RuntimeError("the backfill failed; see its log")
    target = _settings(rig.settings, dataset=_BESIDE).bigquery
    with closing(rest_client(target)) as client:
        counted = client.query(
            f"SELECT COUNT(*) FROM `{table_name(target)}` WHERE _source = 'backfill'"  # noqa: S608 - ours
        ).result()
    return BackfillFigure("the whole, beside live", next(iter(counted))[0], seconds, peak / 1e6, cpu_s)


def _buckets(running: dict[str, StageProcess]) -> dict[str, dict[float, float]]:
    return {name: running[name].latency_buckets() for name in SINKS}


def _read(settings: Settings, wanted: DayRange) -> int:
    with (
        take_snapshot(settings.postgres) as snapshot,
        Reader(
            settings.postgres, snapshot.name, version=snapshot.version, commit_times=snapshot.commit_times
        ) as reader,
    ):
        return sum(batch.num_rows for batch in reader.rows(wanted.since, wanted.until))


def _load(settings: Settings, wanted: DayRange) -> int:
    """The same chunk under ever new tables: nothing but loading and inserting, into a table of its own."""
    settings = _settings(settings, dataset="backfill_emulator_alone")
    with (
        take_snapshot(settings.postgres) as snapshot,
        Reader(settings.postgres, snapshot.name, version=snapshot.version, commit_times=True) as reader,
        closing(rest_client(settings.bigquery)) as client,
    ):
        chunk = next(chunks(reader.rows(wanted.since, wanted.until), FAST.chunk_rows, CHUNK_BYTES))
        rows = enrich_columns(chunk, table_history(snapshot.contents())).rows
        ensure_table(client, settings.bigquery)
        staging = Staging(client, settings.bigquery, "bench")
        chain = JobChain(client, settings.bigquery, snapshot.today)
        done = 0
        for _ in range(3):
            tables = []
            for number in range(FAST.rows_per_insert // FAST.chunk_rows):
                ids = pa.array(range(done, done + rows.num_rows), pa.int64())
                tables.append(staging.load(number, parquet(rows.set_column(0, "event_id", ids))))
                done += rows.num_rows
            insert_missing(settings.bigquery, chain, tables, wanted.since, wanted.until)
            staging.drop(tables)
    return done


def _whole(settings: Settings, wanted: DayRange) -> int:
    settings = _settings(settings, dataset="backfill_whole")
    return Backfill(settings, wanted, Options(without_live=True), lambda _event: None, threading.Event()).run().inserted


def _settings(settings: Settings, *, dataset: str) -> Settings:
    return Settings(
        settings.postgres.model_copy(update={"snapshot": "never"}),
        settings.kafka,
        settings.redis,
        settings.bigquery.model_copy(update={"dataset": dataset}),
        settings.http,
        settings.api,
        settings.stage,
    )


def _cpu_s(rig: Rig, reading: psutil.Process) -> dict[str, float]:
    times, servers = reading.cpu_times(), rig.servers_cpu_s()
    return {"ours": times.user + times.system, **{name: servers[name] for name in ("postgres", "emulator")}}


def _measured(rig: Rig, what: str, work: Callable[[], int]) -> BackfillFigure:
    over, peak = threading.Event(), 0

    def watch() -> None:
        nonlocal peak
        process = psutil.Process()
        while not over.wait(0.05):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began_s, before = time.monotonic(), _cpu_s(rig, psutil.Process())
    try:
        rows = work()
        seconds, after = time.monotonic() - began_s, _cpu_s(rig, psutil.Process())
        return BackfillFigure(what, rows, seconds, peak / 1e6, {name: after[name] - before[name] for name in after})
    finally:
        over.set()
        watcher.join()

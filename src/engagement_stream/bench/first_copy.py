"""How fast the first start copies what is already in the tables, and how soon a live event comes through after it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from engagement_stream.bench.rig import Rig, StageProcess, wait_for

_LIMIT_S = 3_600.0
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CopyFigure:
    """From the first row that was durable in Kafka to the last."""

    rows: int
    seconds: float
    cpu_us_per_row: float
    rss_mb: float
    live_after_s: float
    """From the end of the copy until an event that was committed then is durable in Kafka."""

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds


def measure_copy(rig: Rig, rows: int, tell: Tell) -> CopyFigure:
    """Fill the table, then start capture alone for the first time."""
    tell(f"writing {rows:,} events into PostgreSQL ...")
    writer = rig.generate("historical", "--historical-days", "30", "--rows", str(rows))
    if writer.wait(_LIMIT_S) != 0:
        raise RuntimeError("the generator failed; see its log")
    tell("starting capture for the first time ...")
    with rig.stages("capture") as running:
        capture = running["capture"]
        wait_for(lambda: _copied(capture) > 0, 120.0, "the copy to begin", every_s=0.02)
        first, started_s, cpu_s = _copied(capture), time.monotonic(), capture.cpu_s()
        wait_for(lambda: _phase(capture) == "streaming", _LIMIT_S, "the copy to end", every_s=0.05)
        seconds, used_s, rss_mb = time.monotonic() - started_s, capture.cpu_s() - cpu_s, capture.rss_bytes() / 1e6
        records, committed_s = capture.records(), time.monotonic()
        with psycopg.connect(rig.settings.postgres.database_url.get_secret_value()) as connection:
            connection.execute("insert into engagement_events (event_type, event_ts) values ('click', now())")
        wait_for(lambda: capture.records() > records, 60.0, "a live event", every_s=0.005)
        live_after_s = time.monotonic() - committed_s
    return CopyFigure(rows - first, seconds, used_s / (rows - first) * 1e6, rss_mb, live_after_s)


def _phase(capture: StageProcess) -> object:
    report = capture.status()
    return None if report is None else report.details.get("phase")


def _copied(capture: StageProcess) -> int:
    report = capture.status()
    return 0 if report is None else int(report.details.get("copied_rows") or 0)

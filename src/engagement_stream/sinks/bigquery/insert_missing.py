"""The one way into the table beside the write streams: insert of a number of staged rows what the target lacks.

Exactly once holds because (1) rows that the streams will still bring are not staged, or have passed before (the
caller's business: a watermark, a dead letter's own record), (2) no two inserts run at the same time, whoever issued
them: `exclusive` keeps living processes apart, `JobChain` finds the job that a dead one has left running.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery.job_chain import JobChain
from engagement_stream.sinks.bigquery.table import COLUMNS, table_name


@dataclass(frozen=True, slots=True)
class Inserted:
    """What one insert did and cost; the emulator tells no cost."""

    rows: int
    bytes_processed: int
    slot_ms: int


def insert_missing(
    settings: BigQuerySettings,
    chain: JobChain,
    tables: list[str],
    since: datetime,
    until: datetime,
) -> Inserted:
    """Insert the rows of the staging `tables` (at most some hundred) whose event has no row yet; durable on return.

    All of them have `since` <= event_ts < `until`. Call it while holding the lock that `chain` was made under.
    Raises Retry (the outcome is unknown: begin again with a new chain), Reopen, Fatal.
    """
    job = chain.run(insert_sql(settings, tables, since, until))
    return Inserted(job.num_dml_affected_rows or 0, job.total_bytes_processed or 0, job.slot_millis or 0)


def insert_sql(settings: BigQuerySettings, tables: list[str], since: datetime, until: datetime) -> str:
    """The statement; pure."""
    names = [name for name, _, _ in COLUMNS]
    values = [
        # Numbers that a double cannot hold are rounded: refusing one would refuse every row beside it.
        f"PARSE_JSON(staged.{name}, wide_number_mode => 'round')" if kind == "JSON" else f"staged.{name}"
        for name, kind, _ in COLUMNS
    ]
    parts = {
        "table": table_name(settings),
        "columns": ", ".join(names),
        "values": ", ".join(values),
        "staged": " UNION ALL ".join(f"SELECT * FROM `{table}`" for table in tables),  # noqa: S608 - names of ours
        "since": _moment(since),
        "until": _moment(until),
    }
    return files(__package__).joinpath("insert_missing.sql").read_text().format(**parts)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"

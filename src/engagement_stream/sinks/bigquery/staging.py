"""Staging tables: where rows wait for the one statement that moves what is missing into `engagement_events`.

Each chunk of rows is a table of its own, loaded by truncating it: a chunk that is loaded twice is there once. The
tables expire by themselves; whoever wakes up after that finds nothing to insert.
"""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core import exceptions as foreign
from google.cloud import bigquery

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal, Retry
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery.errors import translated
from engagement_stream.sinks.bigquery.rows import SCHEMA
from engagement_stream.sinks.bigquery.table import COLUMNS

PREFIX = "engagement_staging_"
LIFETIME = timedelta(days=1)
"""Shorter than `job_chain` looks back: an insert that nobody knows of any more has nothing left to read."""
_TIMEOUT_S = 30.0
_LOAD_TIMEOUT_S = 300.0
_ONCE: Any = None
_REPEATED = ["content_id", "event_type", "device", "slug", "title", "content_type", "length_seconds", "publish_ts"]
_REPEATED += ["_source", "_topic"]
"""Columns worth a dictionary. Trying one on ids and payloads, which differ in every row, was half of the writing."""

STAGING_COLUMNS: tuple[tuple[str, str], ...] = tuple(
    (name, "STRING" if kind == "JSON" else kind) for name, kind, _ in COLUMNS
)
"""Name and type: the target's columns in its order, JSON as its text (a Parquet load makes no JSON column)."""


class Staging:
    """The tables of one process: `engagement_staging_<name>_<number>`, letters, digits and underscores."""

    def __init__(self, client: bigquery.Client, settings: BigQuerySettings, name: str) -> None:
        self._client = client
        self._dataset = f"{settings.project}.{settings.dataset}"
        self._name = name

    def load(self, number: int, file: io.BytesIO) -> str:
        """Make table `number` hold exactly the rows of `file` (see `parquet`); returns its name. Raises Retry, Fatal.

        Each event at most once in all the tables that are inserted together: the insert does not look for that.
        """
        name = f"{self._dataset}.{PREFIX}{self._name}_{number}"
        table = bigquery.Table(name, schema=[bigquery.SchemaField(*column) for column in STAGING_COLUMNS])
        table.expires = datetime.now(UTC) + LIFETIME
        table.description = "Rows on their way into engagement_events; expires by itself."
        crash_point("staging.before_load")
        with translated("loading rows into a staging table"):
            self._client.create_table(table, exists_ok=True, timeout=_TIMEOUT_S, retry=_ONCE)
            job = self._client.load_table_from_file(
                file,
                table.reference,
                rewind=True,
                size=None,  # in pieces: as one request the whole file would be held once more
                num_retries=0,
                timeout=_LOAD_TIMEOUT_S,
                job_config=bigquery.LoadJobConfig(
                    source_format=bigquery.SourceFormat.PARQUET,
                    write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
                    schema=table.schema,
                ),
            )
            _ended(job)
        crash_point("staging.after_load")
        return name

    def drop(self, tables: list[str]) -> None:
        """They have been inserted."""
        for name in tables:
            with translated("dropping a staging table"):
                self._client.delete_table(name, not_found_ok=True, timeout=_TIMEOUT_S, retry=_ONCE)

    def drop_leftovers(self, kind: str) -> int:
        """Drop what dead processes of this kind (how their names begin) left behind; only while none can live."""
        with translated("looking for staging tables"):
            tables = list(self._client.list_tables(self._dataset, timeout=_TIMEOUT_S, retry=_ONCE))
        found = [f"{self._dataset}.{item.table_id}" for item in tables if item.table_id.startswith(PREFIX + kind)]
        self.drop(found)
        return len(found)


def parquet(rows: pa.Table) -> io.BytesIO:
    """The rows (SCHEMA) as `Staging.load` takes them; a fifth of their size."""
    assert rows.schema.names == SCHEMA.names, "a Parquet load may go by the order of columns"
    file = io.BytesIO()
    pq.write_table(rows, file, compression="snappy", use_dictionary=_REPEATED, write_statistics=False)
    return file


def _ended(job: Any) -> None:
    try:
        job.result(timeout=_LOAD_TIMEOUT_S)
    except foreign.BadRequest as error:
        raise Fatal(
            f"BigQuery does not load our rows: {' '.join(str(error).split())[:300]}",
            remedy="report it; nothing was inserted",
        ) from error
    except TimeoutError as error:  # concurrent.futures' is the same class
        raise Retry("BigQuery has not loaded the rows in time") from error

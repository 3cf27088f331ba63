"""What the target holds of each day."""

from datetime import date
from typing import Any

from google.api_core import exceptions as foreign
from google.cloud import bigquery

from engagement_stream.backfill.dates import DayRange
from engagement_stream.backfill.plan import Sums
from engagement_stream.backfill.queries import PRESENT
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery.errors import translated
from engagement_stream.sinks.bigquery.table import table_name

_TIMEOUT_S = 30.0
_QUERY_TIMEOUT_S = 300.0
_ONCE: Any = None


def present(client: bigquery.Client, settings: BigQuerySettings, wanted: DayRange) -> dict[date, Sums]:
    """Day -> sums over its events; nothing where there is no table yet. Raises Retry, Fatal."""
    query = PRESENT.format(
        table=table_name(settings), since=f"{wanted.since:%F %T}+00", until=f"{wanted.until:%F %T}+00"
    )
    with translated("asking the table for its days"):
        try:
            job = client.query(
                query,
                job_config=bigquery.QueryJobConfig(use_query_cache=False),
                timeout=_QUERY_TIMEOUT_S,
                retry=_ONCE,
                job_retry=None,
            )
            rows = list(job.result(timeout=_QUERY_TIMEOUT_S, retry=_ONCE, job_retry=None))
        except foreign.NotFound:
            return {}
    return {date.fromisoformat(row[0]): Sums(*(int(value) for value in tuple(row)[1:])) for row in rows}

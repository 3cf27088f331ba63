"""The table `engagement_events` and its views: what they are, and making sure that they are there."""

from importlib.resources import files
from typing import Any

from google.api_core import exceptions as foreign
from google.cloud import bigquery

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery.errors import translated

TABLE = "engagement_events"
VIEWS = {
    "daily_engagement_summary": "Events per day (UTC) and content",
    "hourly_engagement_trends": "Events per hour (UTC) and content type",
}
_TIMEOUT_S = 30.0
_QUERY_TIMEOUT_S = 120.0
_ONCE: Any = None
"""Who asks again, and when, is decided by the runner. (The client's annotations do not know that None is allowed.)"""

COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("event_id", "INTEGER", "id of the row in PostgreSQL's engagement_events"),
    ("content_id", "STRING", "UUID of the content"),
    ("user_id", "STRING", "UUID of the user"),
    ("event_type", "STRING", "play, pause, finish or click"),
    ("event_ts", "TIMESTAMP", "when it happened"),
    ("duration_ms", "INTEGER", "milliseconds"),
    ("device", "STRING", "as the client named it"),
    ("raw_payload", "JSON", "as the client sent it"),
    ("slug", "STRING", "of the content, as of the event"),
    ("title", "STRING", "of the content, as of the event"),
    ("content_type", "STRING", "podcast, newsletter or video; of the content, as of the event"),
    ("length_seconds", "INTEGER", "seconds; of the content, as of the event"),
    ("publish_ts", "TIMESTAMP", "of the content, as of the event"),
    ("engagement_seconds", "FLOAT", "duration_ms / 1000"),
    ("engagement_pct", "FLOAT", "engagement_seconds / length_seconds * 100; NULL where the length is NULL or 0"),
    ("commit_lsn", "INTEGER", "WAL position of the source transaction's commit"),
    ("commit_ts", "TIMESTAMP", "when the source transaction committed"),
    ("_topic", "STRING", "Kafka topic the record lay in"),
    ("_topic_partition", "INTEGER", "its partition (a column name may not begin with _partition)"),
    ("_offset", "INTEGER", "its offset: one record is one row"),
    ("_source", "STRING", "live, snapshot or backfill"),
    ("_dlq", "BOOLEAN", "true: a placeholder, the record itself is in the dead-letter queue"),
)
"""Name, type (as the REST API spells it) and meaning; every one nullable, so that columns can be added any time."""

_SAME_TYPE = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
_DDL_TYPE = {there: here for here, there in _SAME_TYPE.items()}


def table_path(settings: BigQuerySettings) -> str:
    """As the Storage Write API names it."""
    return f"projects/{settings.project}/datasets/{settings.dataset}/tables/{TABLE}"


def table_name(settings: BigQuerySettings) -> str:
    """As SQL names it, to be put between backticks."""
    return f"{settings.project}.{settings.dataset}.{TABLE}"


def missing_columns(present: dict[str, str]) -> list[str]:
    """Names of our columns that a table with these columns (name -> type) lacks. Raises Fatal on a wrong type. Pure."""
    known = {name.lower(): _SAME_TYPE.get(kind.upper(), kind.upper()) for name, kind in present.items()}
    wrong = [f"{name} is {known[name]} instead of {kind}" for name, kind, _ in COLUMNS if known.get(name, kind) != kind]
    if wrong:
        raise Fatal(
            f"the BigQuery table {TABLE} has other types than ours: {', '.join(wrong)}",
            remedy="rename the table (it is made anew and filled from the log), or name another BIGQUERY_DATASET_ID",
        )
    return [name for name, _, _ in COLUMNS if name not in known]


def ensure_table(client: bigquery.Client, settings: BigQuerySettings) -> None:
    """Dataset, table and views are there, with all columns; any number of times, also by two at once."""
    crash_point("bigquery.before_dataset")
    with translated("making sure of the table"):
        _ensure_dataset(client, f"{settings.project}.{settings.dataset}")
        crash_point("bigquery.after_dataset")
        table = bigquery.Table(table_name(settings), schema=[_field(name) for name, _, _ in COLUMNS])
        table.time_partitioning = bigquery.TimePartitioning(bigquery.TimePartitioningType.DAY, field="event_ts")
        table.clustering_fields = ["content_id"]
        table.description = "Engagement events; one row per record of the enriched topic. Use the views, or NOT _dlq."
        found = client.create_table(table, exists_ok=True, timeout=_TIMEOUT_S, retry=_ONCE)
    crash_point("bigquery.after_table")
    lacking = missing_columns({field.name: field.field_type for field in found.schema})
    if lacking:
        with translated("adding columns"):
            _add_columns(client, settings, lacking)
            crash_point("bigquery.after_columns")
    for name, description in VIEWS.items():
        _ensure_view(client, settings, name, description)
    crash_point("bigquery.after_views")


def view_sql(settings: BigQuerySettings, name: str) -> str:
    """The view's query over this table."""
    return files(__package__).joinpath("views", f"{name}.sql").read_text().replace("{table}", table_name(settings))


def last_offsets(client: bigquery.Client, settings: BigQuerySettings, topic: str) -> dict[int, int]:
    """Partition -> greatest offset of the topic's records in the table; absent: no row."""
    query = (files(__package__).joinpath("last_offsets.sql").read_text()).replace("{table}", table_name(settings))
    config = bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter("topic", "STRING", topic)], use_query_cache=False
    )
    with translated("asking the table for its last offsets"):
        job = client.query(query, job_config=config, timeout=_TIMEOUT_S, retry=_ONCE, job_retry=None)
        rows = job.result(timeout=_QUERY_TIMEOUT_S, retry=_ONCE, job_retry=None)
        return {int(row[0]): int(row[1]) for row in rows}


def _field(name: str) -> bigquery.SchemaField:
    _, kind, meaning = next(column for column in COLUMNS if column[0] == name)
    return bigquery.SchemaField(name, kind, description=meaning)


def _add_columns(client: bigquery.Client, settings: BigQuerySettings, names: list[str]) -> None:
    kinds = {name: kind for name, kind, _ in COLUMNS}
    for name in names:
        # A statement each: the emulator takes one ALTER at a time.
        kind = _DDL_TYPE.get(kinds[name], kinds[name])
        ddl = f"ALTER TABLE `{table_name(settings)}` ADD COLUMN IF NOT EXISTS {name} {kind}"
        client.query(ddl, timeout=_TIMEOUT_S, retry=_ONCE, job_retry=None).result(timeout=_QUERY_TIMEOUT_S)
    table = client.get_table(table_name(settings), timeout=_TIMEOUT_S, retry=_ONCE)
    present = {field.name for field in table.schema}
    if not present.issuperset(names):  # the emulator alters what it stores, not what it says it stores
        table.schema = [*table.schema, *(_field(name) for name in names if name not in present)]
        client.update_table(table, ["schema"], timeout=_TIMEOUT_S, retry=_ONCE)


def _ensure_dataset(client: bigquery.Client, name: str) -> None:
    """Looks first: who may fill a dataset that is there need not be allowed to make one in the project."""
    try:
        client.get_dataset(name, timeout=_TIMEOUT_S, retry=_ONCE)
    except foreign.NotFound:
        client.create_dataset(name, exists_ok=True, timeout=_TIMEOUT_S, retry=_ONCE)


def _ensure_view(client: bigquery.Client, settings: BigQuerySettings, name: str, description: str) -> None:
    view = bigquery.Table(f"{settings.project}.{settings.dataset}.{name}")
    view.view_query = view_sql(settings, name)
    view.description = f"{description}; without dead-lettered records."
    with translated(f"making sure of the view {name}"):
        try:
            found = client.create_table(view, exists_ok=True, timeout=_TIMEOUT_S, retry=_ONCE)
            if found.view_query != view.view_query:
                client.update_table(view, ["view_query", "description"], timeout=_TIMEOUT_S, retry=_ONCE)
        except foreign.PreconditionFailed:  # somebody else is at it, with the same query
            return

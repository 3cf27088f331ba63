"""Where to go on without a stream to ask: the table itself knows the last record of each partition."""

from google.cloud.bigquery import Client, QueryJobConfig, ScalarQueryParameter

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.base import Checkpoint, Road
from engagement_stream.sinks.bigquery.errors import translated
from engagement_stream.sinks.bigquery.table import table_id

_LAST = "SELECT MAX(_topic_offset) FROM `{table}` WHERE _topic = @topic AND _topic_partition = @partition"


def offset_from_table(
    client: Client, settings: BigQuerySettings, road: Road, partition: int, point: Checkpoint | None
) -> int:
    """The offset behind the last row of this partition, or the checkpoint's if that is further.

    Right because a stream that is gone takes no appends, and rows of a committed stream are visible to queries at
    once. Raises Fatal when nothing tells where to begin, Retry.
    """
    config = QueryJobConfig(
        query_parameters=[
            ScalarQueryParameter("topic", "STRING", road.topic),
            ScalarQueryParameter("partition", "INT64", partition),
        ]
    )
    crash_point("bigquery.before_last_offset")
    with translated("asking the table for its last record"):
        rows = list(client.query(_LAST.format(table=table_id(settings)), job_config=config).result())
    crash_point("bigquery.after_last_offset")
    last = rows[0][0]
    begins = road.begins_at([partition])[partition]
    known = ([] if last is None else [int(last) + 1]) + ([] if point is None else [point.offset])
    if not known and begins > 0:
        raise Fatal(
            f"there is neither a checkpoint nor a row of {road.topic}[{partition}], and its log begins at {begins}",
            remedy="to begin with what the log still holds, commit offset "
            f"{begins} for this group and partition; older events come by backfill",
        )
    start = max(known, default=0)
    if start < begins:
        raise Fatal(
            f"{road.topic}[{partition}] begins at {begins}, the table ends at {start}: what lies between was trimmed",
            remedy=f"commit offset {begins} for this group and partition, then backfill what is missing",
        )
    return start

"""Carries events to BigQuery: one committed write stream per partition, every record exactly one row."""

from engagement_stream.sinks.bigquery.replays import BigQueryReplays
from engagement_stream.sinks.bigquery.sink import BigQuerySink

__all__ = ["BigQueryReplays", "BigQuerySink"]

"""Settings of the BigQuery sink."""

from pathlib import Path

from pydantic import Field

from engagement_stream.settings.room import Room


class BigQuerySettings(Room):
    """The analytical copy."""

    project: str = Field(
        "engagement-local",
        validation_alias="BIGQUERY_PROJECT_ID",
        pattern=r"^[a-z][a-z0-9:.-]{1,61}[a-z0-9]$",
        description="Google Cloud project.",
    )
    dataset: str = Field(
        "engagement_analytics",
        validation_alias="BIGQUERY_DATASET_ID",
        pattern=r"^[A-Za-z0-9_]{1,1024}$",
        description="Dataset; made when it is missing.",
    )
    credentials: Path = Field(
        Path("config/bigquery-credentials.json"),
        validation_alias="BIGQUERY_CREDENTIALS",
        description="Service account key; without the file, application default credentials are used.",
    )
    rest_endpoint: str = Field(
        "",
        validation_alias="BIGQUERY_REST_ENDPOINT",
        description="http://host:port of an emulator; empty: the real BigQuery.",
    )
    grpc_endpoint: str = Field(
        "",
        validation_alias="BIGQUERY_GRPC_ENDPOINT",
        description="host:port of an emulator's Storage Write API; empty: the real BigQuery.",
    )
    interval_s: float = Field(
        1.0,
        validation_alias="PROCESSING_INTERVAL_SECONDS",
        gt=0,
        le=3600,
        description="Longest time a BigQuery batch is gathered for, in seconds.",
    )

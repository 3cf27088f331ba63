"""Settings of each stage process."""

from typing import Literal

from pydantic import Field

from engagement_stream.settings.room import Room


class StageSettings(Room):
    """What every stage process needs for itself."""

    worker: int = Field(
        0,
        validation_alias="STAGE_WORKER",
        ge=0,
        description="Number of this worker within its stage (StatefulSet ordinal); keeps its transactional.id stable.",
    )
    status_host: str = Field(
        "127.0.0.1",
        validation_alias="STAGE_STATUS_HOST",
        description="Address of the stage's own status server.",
    )
    status_port: int = Field(
        0, validation_alias="STAGE_STATUS_PORT", ge=0, le=65535, description="Its port; 0: a free one."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", validation_alias="LOG_FORMAT", description="auto: console on a terminal, JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="LOG_LEVEL", description="Least severe line that is written."
    )
    otlp_endpoint: str = Field(
        "",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        pattern=r"^(https?://\S+)?$",
        description="http://host:port of an OpenTelemetry collector (OTLP over HTTP); empty: no traces.",
    )
    sinks: str = Field(
        "redis,bigquery,http",
        validation_alias="ENABLED_SINKS",
        pattern=r"^(redis|bigquery|http)(,(redis|bigquery|http))*$",
        description="Comma-separated list of the sinks to run.",
    )

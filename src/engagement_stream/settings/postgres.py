"""Settings of the source database."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from engagement_stream.settings.room import Room, url_of


class PostgresSettings(Room):
    """The source database and the replication slot that reads it."""

    database_url: Annotated[SecretStr, url_of("postgresql", "postgres")] = Field(
        SecretStr("postgresql://postgres:postgres@localhost:5432/engagement_db"),
        validation_alias="DATABASE_URL",
        description="Source database. The role needs REPLICATION (or rds_replication) and SELECT on the two tables.",
    )
    slot: str = Field(
        "engagement_slot",
        validation_alias="CAPTURE_SLOT",
        pattern=r"^[a-z0-9_]{1,63}$",
        description="Logical replication slot; made by the first start.",
    )
    publication: str = Field(
        "engagement_publication",
        validation_alias="CAPTURE_PUBLICATION",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="Publication that holds the two captured tables (made by sql/init.sql).",
    )
    snapshot: Literal["initial", "never"] = Field(
        "initial",
        validation_alias="CAPTURE_SNAPSHOT",
        description="initial: the first start copies existing events. never: only what comes from now on.",
    )
    canary_interval_s: float = Field(
        10.0,
        validation_alias="CANARY_INTERVAL_SECONDS",
        ge=0,
        le=3600,
        description="How often a canary is sent through every stage, in seconds; it makes no row anywhere. 0: never.",
    )

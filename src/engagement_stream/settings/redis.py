"""Settings of the Redis sink and its readers."""

from typing import Annotated

from pydantic import Field, SecretStr

from engagement_stream.settings.room import Room, url_of


class RedisSettings(Room):
    """The real-time aggregates."""

    url: Annotated[SecretStr, url_of("redis", "rediss", "unix")] = Field(
        SecretStr("redis://localhost:6379"),
        validation_alias="REDIS_URL",
        description="Redis or Valkey, version 7 or newer, maxmemory-policy noeviction.",
    )
    window_minutes: int = Field(
        10,
        validation_alias="REDIS_AGGREGATION_WINDOW_MINUTES",
        ge=1,
        le=1440,
        description="How far back the top-content ranking looks.",
    )
    prefix: str = Field(
        "engagement",
        validation_alias="REDIS_KEY_PREFIX",
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
        description="Prefix of every key.",
    )
    recent_events: int = Field(
        50,
        validation_alias="REDIS_RECENT_EVENTS",
        ge=1,
        le=10_000,
        description="Latest events kept per content.",
    )

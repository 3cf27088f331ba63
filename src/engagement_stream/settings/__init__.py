"""Every setting there is: one small frozen class per room, read from the environment (and `.env`).

`Settings.load()` reads and checks them all at once, so that a person sees every wrong variable in one go.
`.env.example` is generated from these classes and checked by a test.
"""

from typing import Self

from pydantic import ValidationError

from engagement_stream.errors import ConfigurationError
from engagement_stream.settings.api import ApiSettings
from engagement_stream.settings.bigquery import BigQuerySettings
from engagement_stream.settings.http import HttpSettings
from engagement_stream.settings.kafka import KafkaSettings
from engagement_stream.settings.postgres import PostgresSettings
from engagement_stream.settings.redis import RedisSettings
from engagement_stream.settings.room import Room
from engagement_stream.settings.stage import StageSettings
from engagement_stream.settings.verify import VerifySettings

__all__ = [
    "ApiSettings",
    "BigQuerySettings",
    "HttpSettings",
    "KafkaSettings",
    "PostgresSettings",
    "RedisSettings",
    "Settings",
    "StageSettings",
    "VerifySettings",
]


class Settings:
    """All rooms together; immutable by convention of its parts."""

    ROOMS = (
        PostgresSettings,
        KafkaSettings,
        RedisSettings,
        BigQuerySettings,
        HttpSettings,
        ApiSettings,
        StageSettings,
        VerifySettings,
    )

    def __init__(
        self,
        postgres: PostgresSettings,
        kafka: KafkaSettings,
        redis: RedisSettings,
        bigquery: BigQuerySettings,
        http: HttpSettings,
        api: ApiSettings,
        stage: StageSettings,
        verify: VerifySettings | None = None,
    ) -> None:
        self.postgres = postgres
        self.kafka = kafka
        self.redis = redis
        self.bigquery = bigquery
        self.http = http
        self.api = api
        self.stage = stage
        self.verify = verify or VerifySettings()

    @classmethod
    def load(cls) -> Self:
        """Read and check everything; raises ConfigurationError that lists every wrong variable."""
        rooms: list[Room] = []
        wrong: list[str] = []
        for room in cls.ROOMS:
            try:
                rooms.append(room())
            except ValidationError as error:
                wrong += [
                    f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                    for problem in error.errors(include_input=False, include_url=False)
                ]
        if wrong:
            raise ConfigurationError("wrong settings:\n  " + "\n  ".join(wrong))
        return cls(*rooms)  # type: ignore[arg-type]  # ROOMS stand in the order of the parameters

"""Every setting there is: one small frozen class per room, read from the environment (and `.env`).

`Settings.load()` reads and checks them all at once, so that a person sees every wrong variable in one go.
`.env.example` is generated from these classes and checked by a test.
"""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from engagement_stream.errors import ConfigurationError


def _url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in schemes or not (parts.hostname or parts.path):
            raise ValueError(f"must be a URL starting with {' or '.join(s + '://' for s in schemes)}")
        return value

    return AfterValidator(check)


class _Room(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )


class PostgresSettings(_Room):
    """The source database and the replication slot that reads it."""

    database_url: Annotated[SecretStr, _url("postgresql", "postgres")] = Field(
        SecretStr("postgresql://postgres:postgres@localhost:5432/engagement_db"),
        validation_alias="DATABASE_URL",
        description="Source database. The role needs REPLICATION and SELECT on the two tables.",
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


class KafkaSettings(_Room):
    """The road between the stages."""

    bootstrap_servers: str = Field(
        "localhost:9092",
        validation_alias="KAFKA_BOOTSTRAP_SERVERS",
        min_length=3,
        description="Comma-separated host:port list of brokers.",
    )
    events_topic: str = Field(
        "engagement-events",
        validation_alias="KAFKA_TOPIC_ENGAGEMENT_EVENTS",
        pattern=r"^[a-zA-Z0-9._-]{1,200}$",
        description="Topic of the captured events (Debezium envelopes).",
    )
    prefix: str = Field(
        "engagement",
        validation_alias="KAFKA_PREFIX",
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
        description="Prefix of every other topic, consumer group and transactional.id.",
    )
    partitions: int = Field(
        4,
        validation_alias="KAFKA_PARTITIONS",
        ge=1,
        le=1024,
        description="Partitions of the event topics. Fixed at their creation.",
    )
    replication_factor: int = Field(
        1,
        validation_alias="KAFKA_REPLICATION_FACTOR",
        ge=1,
        le=9,
        description="Copies of every topic; 3 in production.",
    )
    exactly_once: bool = Field(
        True,
        validation_alias="ENABLE_EXACTLY_ONCE",
        description="false: no Kafka transactions; a crash may then repeat events (/health says so).",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", validation_alias="KAFKA_SECURITY_PROTOCOL", description="How to talk to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", validation_alias="KAFKA_SASL_MECHANISM", description="Used with SASL_*."
    )
    sasl_username: str = Field("", validation_alias="KAFKA_SASL_USERNAME", description="Used with SASL_*.")
    sasl_password: SecretStr = Field(
        SecretStr(""), validation_alias="KAFKA_SASL_PASSWORD", description="Used with SASL_*."
    )
    ssl_ca: Path | None = Field(None, validation_alias="KAFKA_SSL_CA", description="CA file; empty: the system's own.")

    @property
    def content_topic(self) -> str:
        """Versions of `content`: one partition, compacted late."""
        return f"{self.prefix}-content"

    @property
    def progress_topic(self) -> str:
        """Capture's own position: one partition, compacted."""
        return f"{self.prefix}-capture-progress"

    @property
    def enriched_topic(self) -> str:
        """Enriched events, what every sink reads."""
        return f"{self.prefix}-enriched"

    @property
    def dlq_topic(self) -> str:
        """Records that a stage could not use, with the reason."""
        return f"{self.prefix}-dlq"

    def group(self, stage: str) -> str:
        """Consumer group of a stage; also the stem of its transactional ids."""
        return f"{self.prefix}-{stage}"

    def client_config(self) -> dict[str, str]:
        """What every librdkafka client of ours needs to reach the brokers."""
        config = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
            "log_level": "2",  # what matters is an error of ours; a lost connection is told once, by the status
        }
        if self.security_protocol.startswith("SASL"):
            config |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.sasl_password.get_secret_value(),
            }
        if self.ssl_ca:
            config["ssl.ca.location"] = str(self.ssl_ca)
        return config


class RedisSettings(_Room):
    """The real-time aggregates."""

    url: Annotated[SecretStr, _url("redis", "rediss", "unix")] = Field(
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


class BigQuerySettings(_Room):
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


class HttpSettings(_Room):
    """The external REST system."""

    url: Annotated[SecretStr, _url("https", "http")] | None = Field(
        None,
        validation_alias="EXTERNAL_API_URL",
        description="Where batches are POSTed. Empty: the embedded receiver of ./start.sh.",
    )
    secret: SecretStr = Field(
        SecretStr(""),
        validation_alias="EXTERNAL_API_SECRET",
        description="Standard Webhooks secret (whsec_...); empty: batches are not signed.",
    )
    token: SecretStr = Field(
        SecretStr(""),
        validation_alias="EXTERNAL_API_TOKEN",
        description="Sent as Authorization: Bearer ...; empty: no such header.",
    )
    batch_size: int = Field(
        100,
        validation_alias="BATCH_SIZE",
        ge=1,
        le=5000,
        description="Events per request to the REST system.",
    )
    timeout_s: float = Field(
        10.0,
        validation_alias="EXTERNAL_API_TIMEOUT_SECONDS",
        gt=0,
        le=300,
        description="How long one request may take.",
    )
    send_history: bool = Field(
        False,
        validation_alias="EXTERNAL_API_SEND_HISTORY",
        description="true: also send the events that the first copy found in the table.",
    )


class ApiSettings(_Room):
    """The monitoring API, and how it finds the stages."""

    host: str = Field(
        "127.0.0.1",
        validation_alias="API_HOST",
        description="Address to listen on; 0.0.0.0 for every interface.",
    )
    port: int = Field(8080, validation_alias="API_PORT", ge=1, le=65535, description="Port of the API.")
    stage_endpoints: str = Field(
        "",
        validation_alias="STAGE_ENDPOINTS",
        description="name=http://host:port,... of the stages; set by the supervisor.",
    )

    def stages(self) -> dict[str, str]:
        """Name of each stage process -> base URL of its status server."""
        pairs = (item.split("=", 1) for item in self.stage_endpoints.split(",") if "=" in item)
        return {name.strip(): url.strip() for name, url in pairs}


class StageSettings(_Room):
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
    sinks: str = Field(
        "redis,bigquery,http",
        validation_alias="ENABLED_SINKS",
        pattern=r"^(redis|bigquery|http)(,(redis|bigquery|http))*$",
        description="Comma-separated list of the sinks to run.",
    )


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
    ) -> None:
        self.postgres = postgres
        self.kafka = kafka
        self.redis = redis
        self.bigquery = bigquery
        self.http = http
        self.api = api
        self.stage = stage

    @classmethod
    def load(cls) -> Self:
        """Read and check everything; raises ConfigurationError that lists every wrong variable."""
        rooms: list[_Room] = []
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

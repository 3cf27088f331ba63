"""Settings of the road between the stages, and the names of what lies on it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from engagement_stream.settings.room import Room


class KafkaSettings(Room):
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

    @property
    def dlq_state_topic(self) -> str:
        """What became of each dead letter: one partition, compacted."""
        return f"{self.prefix}-dlq-state"

    def retry_topic(self, stage: str) -> str:
        """Dead letters that a person sent back to the stage they failed at."""
        return f"{self.prefix}-retry-{stage}"

    @property
    def backfill_topic(self) -> str:
        """How far backfills into the REST system have come: one partition, compacted."""
        return f"{self.prefix}-backfill"

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

"""How far each stage is, by what is durable and not by what it says of itself; asked directly, past the proxies."""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # not re-exported for type checkers

from engagement_stream.broker.consumer import consumer
from engagement_stream.errors import Retry
from engagement_stream.model.position import parse_lsn
from engagement_stream.settings import Settings
from engagement_stream.sinks.redis.keys import position_key

Offsets = Mapping[int, int]
_TIMEOUT_S = 3.0
_SLOT = """
select pg_current_wal_lsn()::text, confirmed_flush_lsn::text
from (select 1) one left join pg_replication_slots on slot_name = %s
"""


@dataclass(frozen=True, slots=True)
class Positions:
    """One look: each position was read before the end it is compared with later."""

    wal: int
    """Where the source writes: everything committed by now lies before."""
    confirmed: int
    """What capture has acknowledged: durable in Kafka."""
    raw_ends: Offsets
    enriched_ends: Offsets
    stages: Mapping[str, Offsets]
    """Next offset of enrich and of each sink, by partition."""


class Looker:
    """Connections of its own, made anew when they break. Not thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None
        self._readers: dict[str, Consumer] = {}
        self._postgres: psycopg.Connection | None = None
        self._redis = redis.Redis.from_url(
            settings.redis.url.get_secret_value(), socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )

    def look(self) -> Positions:
        """Raises Retry while one of the servers does not answer."""
        kafka = self._settings.kafka
        try:
            wal, confirmed = self._lsns()
            raw = self._ends(kafka.events_topic)
            enrich = self._committed("enrich", kafka.events_topic)
            enriched = self._ends(kafka.enriched_topic)
            stages = {
                "enrich": enrich,
                "redis": self._fences(),
                "bigquery": self._committed("bigquery", kafka.enriched_topic),
                "http": self._committed("http", kafka.enriched_topic),
            }
        except (psycopg.Error, KafkaException, redis.RedisError, TimeoutError, OSError) as error:
            # An admin client asks with the leader's epoch it once learned, for ever, after the broker has a new one.
            self._admin = None
            self._forget_postgres()
            raise Retry(f"cannot look: {type(error).__name__}: {error}") from error
        return Positions(wal, confirmed, raw, enriched, stages)

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._forget_postgres()
        self._redis.close()

    def _lsns(self) -> tuple[int, int]:
        if self._postgres is None:
            self._postgres = psycopg.connect(
                self._settings.postgres.database_url.get_secret_value(),
                autocommit=True,
                connect_timeout=int(_TIMEOUT_S),
                tcp_user_timeout=int(_TIMEOUT_S * 1000),
            )
        row = self._postgres.execute(_SLOT, (self._settings.postgres.slot,)).fetchone()
        assert row is not None
        return parse_lsn(row[0]), parse_lsn(row[1]) if row[1] is not None else 0

    def _forget_postgres(self) -> None:
        if self._postgres is not None:
            self._postgres.close()
        self._postgres = None

    def _admin_client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient({**self._settings.kafka.client_config(), "reconnect.backoff.max.ms": "250"})
        return self._admin

    def _parts(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for partition in range(self._settings.kafka.partitions)]

    def _ends(self, topic: str) -> Offsets:
        admin = self._admin_client()
        wanted = {part: OffsetSpec.latest() for part in self._parts(topic)}  # type: ignore[no-untyped-call]  # untyped upstream
        answers = admin.list_offsets(wanted, request_timeout=_TIMEOUT_S)
        return {part.partition: answer.result(timeout=_TIMEOUT_S + 1).offset for part, answer in answers.items()}

    def _committed(self, stage: str, topic: str) -> Offsets:
        # Not by the admin client's list_consumer_group_offsets: where the coordinator is not available, librdkafka 2.16
        # ends the process (rd_kafka_handle_OffsetFetch calls rd_kafka_cgrp_op without a consumer group: tried).
        if stage not in self._readers:
            self._readers[stage] = consumer(self._settings.kafka, self._settings.kafka.group(stage))
        found = self._readers[stage].committed(self._parts(topic), _TIMEOUT_S)
        if any(part.error is not None for part in found):
            raise TimeoutError(f"{stage}: {found[0].error}")
        return {part.partition: max(part.offset, 0) for part in found}

    def _fences(self) -> Offsets:
        partitions = range(self._settings.kafka.partitions)
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in partitions:
                pipe.hget(position_key(self._settings.redis.prefix, partition), "fence")
            return {partition: int(fence or 0) for partition, fence in zip(partitions, pipe.execute(), strict=True)}

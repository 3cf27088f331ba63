"""Every topic we own, made by us with explicit configs, never by auto-creation."""

import time
from dataclasses import dataclass, field

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # not re-exported for type checkers
from confluent_kafka.cimpl import NewTopic

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal, Retry
from engagement_stream.settings import KafkaSettings

_MIB = 1 << 20
_DAY_MS = 86_400_000
EVENT_RETENTION_MS = 7 * _DAY_MS
_SEGMENT_MS = _DAY_MS
_DLQ_REPLAY_AGE_MS = 30 * _DAY_MS

# Sizes rise along the way: what one stage could write, the next can hold with what it adds.
RAW_MAX_BYTES = 4 * _MIB
ENRICHED_MAX_BYTES = 6 * _MIB
DLQ_MAX_BYTES = 8 * _MIB

RETRIED_STAGES = ("enrich", "redis", "bigquery", "http")
"""Stages whose dead letters can be sent back to them."""

# A broker that was away for longer than its session is elected anew and may hear of it after its clients.
_BETWEEN_LEADERS = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError._NOENT,  # noqa: SLF001 - the library's own word for "no leaders found"
    }
)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic: its partitions and the configs it is created with."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def topic_specs(kafka: KafkaSettings) -> list[TopicSpec]:
    """All topics, in the order of the flow.

    LogAppendTime: with event times retention would delete old history at once. The content topic keeps every
    version for as long as any replay may ask for it: event retention + segment + the age of a DLQ replay.
    """
    log = {"message.timestamp.type": "LogAppendTime", "segment.ms": str(_SEGMENT_MS)}
    kept = {**log, "retention.ms": str(EVENT_RETENTION_MS), "cleanup.policy": "delete"}
    versions_ms = EVENT_RETENTION_MS + _SEGMENT_MS + _DLQ_REPLAY_AGE_MS
    positions = {
        "cleanup.policy": "compact",
        "segment.bytes": str(_MIB),
        "segment.ms": "600000",
        "min.cleanable.dirty.ratio": "0.1",
        "message.timestamp.type": "LogAppendTime",
    }
    return [
        TopicSpec(kafka.progress_topic, 1, positions),
        TopicSpec(kafka.backfill_topic, 1, positions),
        TopicSpec(kafka.events_topic, kafka.partitions, {**kept, "max.message.bytes": str(RAW_MAX_BYTES)}),
        TopicSpec(
            kafka.content_topic,
            1,
            {
                **log,
                "cleanup.policy": "compact",
                "min.compaction.lag.ms": str(versions_ms),
                "max.message.bytes": str(RAW_MAX_BYTES),
            },
        ),
        TopicSpec(kafka.enriched_topic, kafka.partitions, {**kept, "max.message.bytes": str(ENRICHED_MAX_BYTES)}),
        TopicSpec(
            kafka.dlq_topic,
            kafka.partitions,
            {
                **log,
                "cleanup.policy": "delete",
                "retention.ms": "-1",
                "max.message.bytes": str(DLQ_MAX_BYTES),
            },
        ),
        TopicSpec(
            kafka.dlq_state_topic,
            1,
            {**log, "cleanup.policy": "compact", "segment.bytes": str(16 * _MIB), "min.cleanable.dirty.ratio": "0.2"},
        ),
        *(
            TopicSpec(kafka.retry_topic(stage), kafka.partitions, {**kept, "max.message.bytes": str(DLQ_MAX_BYTES)})
            for stage in RETRIED_STAGES
        ),
    ]


def ensure_topics(kafka: KafkaSettings, *, timeout_s: float = 10.0) -> None:
    """Create what is missing and check what exists.

    Raises Retry while the brokers cannot be reached, Fatal when a partition count differs from the settings:
    keys would land elsewhere, and order and fences would break.
    """
    admin = AdminClient({**kafka.client_config(), "socket.timeout.ms": int(timeout_s * 1000)})
    try:
        existing = admin.list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise Retry(f"Kafka at {kafka.bootstrap_servers} does not answer: {error.args[0].str()}") from error
    specs = topic_specs(kafka)
    for spec in specs:
        found = existing.get(spec.name)
        if found is not None and len(found.partitions) != spec.partitions:
            raise Fatal(
                f"topic {spec.name} has {len(found.partitions)} partitions, the settings say {spec.partitions}",
                remedy=f"set KAFKA_PARTITIONS={len(found.partitions)}, or drain all stages and make the topics anew",
            )
    missing = [spec for spec in specs if spec.name not in existing]
    if missing:
        _create(admin, missing, kafka.replication_factor, timeout_s)


def _create(admin: AdminClient, specs: list[TopicSpec], replication_factor: int, timeout_s: float) -> None:
    crash_point("topics.before_create")
    wanted = [NewTopic(s.name, s.partitions, replication_factor, config=s.config) for s in specs]
    for name, future in admin.create_topics(wanted, operation_timeout=timeout_s).items():
        try:
            future.result(timeout=timeout_s)
        except KafkaException as error:
            # Another stage that starts at the same time made it first.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Retry(f"topic {name} could not be made: {error.args[0].str()}") from error
        except TimeoutError as error:
            raise Retry(f"topic {name} could not be made: Kafka does not answer") from error
    # A created topic takes a moment to be known by every broker's metadata.
    deadline_s = time.monotonic() + timeout_s
    while any(s.name not in admin.list_topics(timeout=timeout_s).topics for s in specs):
        if time.monotonic() > deadline_s:
            raise Retry("new topics are not visible yet")
        time.sleep(0.05)
    crash_point("topics.after_create")


def high_watermarks(
    kafka: KafkaSettings,
    topic: str,
    partitions: int,
    *,
    timeout_s: float = 10.0,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> list[int]:
    """End offset of each partition, by default as a read_uncommitted reader sees it.

    The read_committed end would hide committed records behind somebody else's open transaction. Raises Retry; a
    partition between two leaders is asked again, until `timeout_s` is over.
    """
    wanted = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}  # type: ignore[no-untyped-call]  # untyped upstream
    deadline_s = time.monotonic() + timeout_s
    while True:
        # A new one each time: a client keeps asking with the leader's epoch that it learned first (seen after a broker
        # was frozen for longer than its session: FENCED_LEADER_EPOCH, for ever).
        admin = AdminClient({**kafka.client_config()})
        try:
            answers = admin.list_offsets(wanted, request_timeout=timeout_s, isolation_level=isolation)
            offsets = {part.partition: future.result(timeout=timeout_s).offset for part, future in answers.items()}
        except KafkaException as error:
            if error.args[0].code() not in _BETWEEN_LEADERS or time.monotonic() > deadline_s:
                raise Retry(f"Kafka does not tell the end of {topic}: {error.args[0].str()}") from error
            time.sleep(0.1)
        except TimeoutError as error:  # the library's own bound may come a moment after ours
            raise Retry(f"Kafka does not tell the end of {topic}: it does not answer") from error
        else:
            return [offsets[number] for number in range(partitions)]

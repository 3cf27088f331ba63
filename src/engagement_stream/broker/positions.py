"""How far a group has come and where a topic begins, seen from outside: nothing here joins a group or commits."""

from confluent_kafka import KafkaException, TopicPartition

from engagement_stream.broker.consumer import consumer
from engagement_stream.errors import Retry
from engagement_stream.settings import KafkaSettings

_TIMEOUT_S = 15.0


def committed(kafka: KafkaSettings, group: str, topic: str) -> dict[int, int | None]:
    """Partition -> next offset of a group (`enrich`, `http-retry`); None where it has none. Raises Retry."""
    reader = consumer(kafka, kafka.group(group))
    try:
        found = reader.committed([TopicPartition(topic, p) for p in range(kafka.partitions)], _TIMEOUT_S)
    except KafkaException as error:
        raise Retry(f"Kafka does not tell the position of {group}: {error.args[0].str()}") from error
    finally:
        reader.close()
    return {part.partition: part.offset if part.error is None and part.offset >= 0 else None for part in found}


def begins(kafka: KafkaSettings, topic: str, partitions: int) -> list[int]:
    """First offset that each partition still holds. Raises Retry."""
    reader = consumer(kafka, f"{kafka.prefix}-reader")
    try:
        return [reader.get_watermark_offsets(TopicPartition(topic, p), _TIMEOUT_S)[0] for p in range(partitions)]
    except KafkaException as error:
        raise Retry(f"Kafka does not tell where {topic} begins: {error.args[0].str()}") from error
    finally:
        reader.close()

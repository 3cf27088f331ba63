"""How far each stage has come, seen from outside: nothing here joins a group or moves a position."""

from collections.abc import Mapping

from confluent_kafka import KafkaException, TopicPartition

from engagement_stream.broker.consumer import consumer
from engagement_stream.errors import Retry
from engagement_stream.settings import KafkaSettings

_TIMEOUT_S = 15.0


def committed(kafka: KafkaSettings, stage: str, topic: str) -> Mapping[int, int | None]:
    """Partition -> next offset of the stage's group; None where it never committed one. Raises Retry."""
    reader = consumer(kafka, kafka.group(stage))
    try:
        found = reader.committed([TopicPartition(topic, p) for p in range(kafka.partitions)], _TIMEOUT_S)
    except KafkaException as error:
        raise Retry(f"Kafka does not tell the position of {stage}: {error.args[0].str()}") from error
    finally:
        reader.close()
    return {part.partition: part.offset if part.offset >= 0 else None for part in found}

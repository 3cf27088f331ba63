"""How far each stage has come, by what its group has committed.

A sink writes a letter before its position moves past the record. Until it has moved, a restart of the sink may try the
record once more and deliver it: a replay at that moment would be a second delivery.
"""

from confluent_kafka import KafkaException, TopicPartition

from engagement_stream.broker.consumer import consumer
from engagement_stream.dlq.letter import Letter
from engagement_stream.errors import Retry
from engagement_stream.settings import KafkaSettings

_TIMEOUT_S = 15.0


class Positions:
    """Asked once a (stage, topic); make a new one for each operation."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._known: dict[tuple[str, str], dict[int, int]] = {}

    def behind(self, letter: Letter) -> str:
        """Why a letter may not be replayed yet; empty when its stage is past it. Raises Retry."""
        if letter.stage == "enrich" or not self._kafka.exactly_once:
            return ""  # its letters and its position are one transaction
        asked = letter.stage, letter.topic
        if asked not in self._known:
            stage, topic = asked
            group = f"{stage}-retry" if topic == self._kafka.retry_topic(stage) else stage
            self._known[asked] = committed(self._kafka, group, topic)
        if self._known[asked].get(letter.partition, 0) > letter.offset:
            return ""
        return f"not yet: stage {letter.stage} has not committed a position past this record; it does within seconds."


def committed(kafka: KafkaSettings, group: str, topic: str) -> dict[int, int]:
    """Partition -> next offset of a group (`enrich`, `http-retry`); 0 where it has none. Raises Retry."""
    reader = consumer(kafka, kafka.group(group))
    try:
        found = reader.committed([TopicPartition(topic, p) for p in range(kafka.partitions)], _TIMEOUT_S)
    except KafkaException as error:
        raise Retry(f"Kafka does not tell the position of {group}: {error.args[0].str()}") from error
    finally:
        reader.close()
    return {part.partition: max(part.offset, 0) for part in found if part.error is None}

"""Where to go on reading: the committed offset, or the very beginning if nothing was ever written, or nowhere."""

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.membership import is_member
from engagement_stream.errors import Fatal, Retry
from engagement_stream.settings import KafkaSettings

_TIMEOUT_S = 15.0


Place = tuple[str, int]
"""Topic, partition."""


def start_positions(kafka: KafkaSettings, reader: Consumer, places: Sequence[Place]) -> dict[Place, int]:
    """Next offset of each partition of the events topic and of the replays.

    The look-up waits for another worker's pending transaction (librdkafka asks for stable offsets when the isolation
    is read_committed). Raises Retry; Fatal when a position existed and is lost.
    """
    found = _committed(kafka, reader, places)
    if any(item.offset < 0 for item in found):
        # A coordinator that has not read its log yet knows no position, but no member either (see membership).
        if not is_member(kafka, kafka.group("enrich"), reader):
            raise Retry(f"group {kafka.group('enrich')} knows neither positions nor this member yet")
        found = _committed(kafka, reader, places)
    starts: dict[Place, int] = {}
    begun: list[TopicPartition] = []
    for item in found:
        place = item.topic, item.partition
        if item.offset >= 0:
            starts[place] = item.offset
            continue
        if item.topic == kafka.events_topic:
            starts[place] = _from_scratch(kafka, reader, item.partition)
        else:
            starts[place] = _first_replay(kafka, reader, item.topic, item.partition)
        begun.append(TopicPartition(item.topic, item.partition, starts[place]))
    if begun and not kafka.exactly_once:
        _write_down(reader, begun)
    return starts


def _committed(kafka: KafkaSettings, reader: Consumer, places: Sequence[Place]) -> list[TopicPartition]:
    try:
        found = reader.committed([TopicPartition(topic, p) for topic, p in places], _TIMEOUT_S)
    except KafkaException as error:
        raise Retry(f"Kafka does not tell positions in {kafka.events_topic}: {error.args[0].str()}") from error
    for item in found:
        if item.error is not None:
            raise Retry(f"the position of {item.topic}[{item.partition}] cannot be read: {item.error.str()}")
    return found


def _first_replay(kafka: KafkaSettings, reader: Consumer, topic: str, partition: int) -> int:
    """The beginning: nothing was ever replayed here. A group that lost its positions lost that of the events too."""
    if (begins_at := _begins_at(reader, topic, partition)) > 0:
        raise Fatal(
            f"{topic}[{partition}] has no committed position and begins at offset {begins_at}",
            remedy="replays before it were trimmed and are lost to this stage (engagement verify names them); to go on "
            f"without, set the offset of group {kafka.group('enrich')} (kafka-consumer-groups --reset-offsets "
            "--to-earliest)",
        )
    return 0


def _write_down(reader: Consumer, begun: list[TopicPartition]) -> None:
    """Without transactions output comes before its offsets: a crash in between must not look like a lost position."""
    try:
        reader.commit(offsets=begun, asynchronous=False)
    except KafkaException as error:
        raise Retry(f"Kafka does not take the first positions: {error.args[0].str()}") from error


def _from_scratch(kafka: KafkaSettings, reader: Consumer, partition: int) -> int:
    """0, if this partition was never enriched before. Aborted transactions of a first try do not count."""
    if (begins_at := _begins_at(reader, kafka.events_topic, partition)) > 0:
        raise Fatal(
            f"{kafka.events_topic}[{partition}] has no committed position and begins at offset {begins_at}",
            remedy="what was before is gone: backfill that time, then set the offset of group "
            f"{kafka.group('enrich')} on purpose (kafka-consumer-groups --reset-offsets --to-earliest)",
        )
    output = kafka.enriched_topic
    if _begins_at(reader, output, partition) > 0 or next(read_range(kafka, output, partition, 0), None) is not None:
        raise Fatal(
            f"group {kafka.group('enrich')} has lost its position in {kafka.events_topic}[{partition}], "
            f"but {output}[{partition}] holds its work already: starting over would double it",
            remedy="restore the group's offset (the last enriched record names its event; the offset after that "
            "event is the position), with kafka-consumer-groups --reset-offsets --to-offset",
        )
    return 0


def _begins_at(reader: Consumer, topic: str, partition: int) -> int:
    try:
        low, _high = reader.get_watermark_offsets(TopicPartition(topic, partition), _TIMEOUT_S)
    except KafkaException as error:
        raise Retry(f"Kafka does not tell where {topic}[{partition}] begins: {error.args[0].str()}") from error
    return low

"""A sink's way to Kafka: checkpoints with metadata, dead letters, re-reading the log."""

from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.dead_letter import DeadLetter, DeadLetters
from engagement_stream.broker.membership import is_member
from engagement_stream.broker.retry import replay_of
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Reopen, Retry
from engagement_stream.observe.metrics import DEAD_LETTERS
from engagement_stream.settings import KafkaSettings
from engagement_stream.sinks.base import Checkpoint

_TIMEOUT_S = 15.0
_NOT_OURS = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._STATE,  # noqa: SLF001 - public constant: the consumer has left the group
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001 - public constant
    }
)


class KafkaRoad:
    """Implements `sinks.base.Road` on the runner's consumer.

    Only on the runner's thread: librdkafka's query for watermarks never returns while another thread polls (tried).
    """

    def __init__(self, kafka: KafkaSettings, consumer: Consumer, topic: str, group: str) -> None:
        self._kafka = kafka
        self._consumer = consumer
        self._topic, self._group = topic, group
        self._letters: DeadLetters | None = None

    @property
    def topic(self) -> str:
        return self._topic

    def committed(self, partitions: Sequence[int]) -> dict[int, Checkpoint | None]:
        answers = self._look_up(partitions)
        if None in answers.values():
            # A coordinator that has not read its log yet knows no position, but no member either (see membership). A
            # sink that took that for a first start would deliver the whole log again.
            if not is_member(self._kafka, self._group, self._consumer):
                raise Retry(f"group {self._group} knows neither positions nor this member yet")
            answers = self._look_up(partitions)
        return answers

    def _look_up(self, partitions: Sequence[int]) -> dict[int, Checkpoint | None]:
        crash_point("road.before_committed")
        try:
            found = self._consumer.committed([TopicPartition(self.topic, p) for p in partitions], _TIMEOUT_S)
        except KafkaException as error:
            raise _instruction(error) from error
        crash_point("road.after_committed")
        answers: dict[int, Checkpoint | None] = {}
        for item in found:
            if item.error is not None:
                raise Retry(f"the position of {self.topic}[{item.partition}] cannot be read: {item.error.str()}")
            answers[item.partition] = Checkpoint(item.offset, item.metadata or "") if item.offset >= 0 else None
        return answers

    def commit(self, checkpoints: Mapping[int, Checkpoint], *, wait: bool = True) -> None:
        offsets = [
            TopicPartition(self.topic, partition, point.offset, point.metadata)
            for partition, point in checkpoints.items()
        ]
        if not offsets:
            return
        crash_point("road.before_commit")
        try:
            if wait:
                answer = self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
                answer = []
        except KafkaException as error:
            raise _instruction(error) from error
        for item in answer:
            if item.error is not None:
                raise _instruction(KafkaException(item.error))
        crash_point("road.after_commit")

    def begins_at(self, partitions: Sequence[int]) -> dict[int, int]:
        return {partition: self._bounds(partition)[0] for partition in partitions}

    def ends_at(self, partitions: Sequence[int]) -> dict[int, int]:
        return {partition: self._bounds(partition)[1] for partition in partitions}

    def _bounds(self, partition: int) -> tuple[int, int]:
        """Asked with the consumer's isolation level: the end is that of committed records."""
        crash_point("road.before_bounds")
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(self.topic, partition), _TIMEOUT_S)
        except KafkaException as error:
            raise _instruction(error) from error
        crash_point("road.after_bounds")
        return low, high

    def read(self, partition: int, start: int, end: int | None = None) -> Iterator[Message]:
        return read_range(self._kafka, self.topic, partition, start, end=end)

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        if not letters:
            return
        if self._letters is None:
            self._letters = DeadLetters(self._kafka)
        if self._topic != self._kafka.enriched_topic:
            letters = list(self._failed_again(letters))
        crash_point("road.before_dead_letter")
        self._letters.put(letters)
        crash_point("road.after_dead_letter")
        for letter in letters:
            DEAD_LETTERS.labels(letter.stage, letter.reason).inc()

    def _failed_again(self, letters: Sequence[DeadLetter]) -> Iterator[DeadLetter]:
        """Of replays: what they were replays of stands in the records' headers, which sinks do not see."""
        by_partition: dict[int, dict[int, DeadLetter]] = {}
        for letter in letters:
            by_partition.setdefault(letter.partition, {})[letter.offset] = letter
        for partition, found in by_partition.items():
            for message in self.read(partition, min(found), max(found) + 1):
                letter_here = found.pop(message.offset() or 0, None)
                if letter_here is not None:
                    yield letter_here.failed_again(replay_of(message), message.key())
            yield from found.values()


def _instruction(error: KafkaException) -> Retry | Reopen:
    problem: KafkaError = error.args[0]
    if problem.code() in _NOT_OURS:
        return Reopen(f"the partitions went to another worker: {problem.str()}")
    return Retry(f"Kafka does not take or tell positions: {problem.str()}")

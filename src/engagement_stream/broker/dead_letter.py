"""Dead letters: a record that a stage could not use, its original bytes untouched, the reason in headers.

The key `stage/topic/partition/offset` names the letter: written twice it is still one letter, so a stage writes it
before it moves its position and may do so again after a crash.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from engagement_stream.broker.retry import AGAIN, ORIGIN, Replay
from engagement_stream.broker.transaction import Headers, plain_config
from engagement_stream.errors import Retry
from engagement_stream.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused record: where it stood, its bytes, and why (a short reason for counting, a detail to read)."""

    stage: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    reason: str
    detail: str
    replay: Replay | None = None
    """Of what, where the record was a replay that failed again."""

    @property
    def name(self) -> bytes:
        return f"{self.stage}/{self.topic}/{self.partition}/{self.offset}".encode()

    def headers(self) -> Headers:
        """Everything but the value; the detail is cut so that the record stays within its topic's limit."""
        headers: Headers = [
            ("stage", self.stage.encode()),
            ("reason", self.reason.encode()),
            ("detail", self.detail.encode()[:4_000]),
            ("topic", self.topic.encode()),
            ("partition", b"%d" % self.partition),
            ("offset", b"%d" % self.offset),
            ("key", self.key or b""),
        ]
        if self.replay is not None:
            headers += [(ORIGIN, self.replay.origin.encode()), (AGAIN, b"%d" % self.replay.again)]
        return headers

    def failed_again(self, replay: Replay | None, key: bytes | None) -> "DeadLetter":
        """The same letter, of a record that was a replay and had this key."""
        return replace(self, replay=replay, key=self.key or key)


class DeadLetters:
    """Writes letters outside of any transaction, for sinks; durable when `put` returns."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._topic = kafka.dlq_topic
        self._partitions = kafka.partitions
        self._failed = 0
        self._producer = Producer(
            {**plain_config(kafka), "delivery.report.only.error": True, "on_delivery": self._count_failure}
        )

    def _count_failure(self, _error: KafkaError, _message: Message) -> None:
        self._failed += 1

    def put(self, letters: Sequence[DeadLetter], *, timeout_s: float = 20.0) -> None:
        """Raises Retry unless every letter is acknowledged by the brokers; repeating it is harmless."""
        self._failed = 0
        deadline_s = time.monotonic() + timeout_s
        try:
            for letter in letters:
                self._producer.produce(
                    self._topic,
                    letter.value,
                    letter.name,
                    letter.partition % self._partitions,
                    headers=letter.headers(),
                )
            left = self._producer.flush(max(deadline_s - time.monotonic(), 0.1))
        except (KafkaException, BufferError) as error:
            raise Retry(f"{self._topic} does not take dead letters: {error}") from error
        if left or self._failed:
            raise Retry(f"{self._topic} did not acknowledge {left or self._failed} dead letters")

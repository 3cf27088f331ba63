"""How far an HTTP lane has come: a compacted topic, one key a range and endpoint.

`{"v":1,"after":900,"through":1000}`: everything up to id 900 is settled, and the batch that is sent next ends at 1000.
It is written before the batch is first sent, so that whoever comes after us repeats the same batch.
"""

from dataclasses import dataclass

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.transaction import plain_config
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Retry
from engagement_stream.settings import KafkaSettings

_FLUSH_S = 30.0


class LaneState(msgspec.Struct, frozen=True, gc=False):
    """Event ids. `after` None: nothing is settled yet; `through` None: no batch was under way."""

    v: int = 1
    after: int | None = None
    through: int | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LaneState).decode


@dataclass
class LaneProgress:
    """The record under one key."""

    kafka: KafkaSettings
    key: str

    def __post_init__(self) -> None:
        self._failed = 0
        self._producer = Producer({**plain_config(self.kafka), "on_delivery": self._count_failure})

    def read(self) -> LaneState:
        """To the topic's end. Raises Retry."""
        state = LaneState()
        for message in read_range(self.kafka, self.kafka.backfill_topic, 0, 0):
            if message.key() == self.key.encode():
                value = message.value()
                state = LaneState() if value is None else _decode(value)
        return state

    def write(self, state: LaneState) -> None:
        """Durable on return. Raises Retry."""
        self._put(_encode(state))

    def forget(self) -> None:
        """The range is settled: asked for again, it begins anew."""
        self._put(None)

    def _put(self, value: bytes | None) -> None:
        crash_point("backfill.before_lane_progress")
        try:
            self._producer.produce(self.kafka.backfill_topic, value, self.key.encode(), 0)
            left = self._producer.flush(_FLUSH_S)
        except (KafkaException, BufferError) as error:
            raise Retry(f"the progress cannot be written to {self.kafka.backfill_topic}: {error}") from error
        if left or self._failed:
            self._failed = 0
            raise Retry(f"the progress could not be written to {self.kafka.backfill_topic}")
        crash_point("backfill.after_lane_progress")

    def _count_failure(self, error: KafkaError | None, _message: Message) -> None:
        self._failed += error is not None

"""What a consumer hands out, taken into what waits to be written: records, ends of partitions, errors."""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message

from engagement_stream.broker.consumer import raise_unless_transient
from engagement_stream.errors import Retry
from engagement_stream.model.canary import canary_of
from engagement_stream.model.engagement import is_watermark
from engagement_stream.observe.canaries import Canaries
from engagement_stream.sinks.pending import Pending


def take(messages: Sequence[Message], pending: Pending, canaries: Canaries, topic: str) -> None:
    """Take all of them, an error in their midst or not: the consumer has gone past them, so they come but once.

    Raises Retry then, after the last one; anything worse at once, for it ends the process and its consumer.
    """
    now_s, trouble = time.monotonic(), None
    for message in messages:
        error = message.error()
        if error is None:
            value = pending.add(message, now_s)
            if is_watermark(value) and (sent_us := canary_of(value)) is not None:
                canaries.read(message.partition() or 0, message.offset() or 0, sent_us)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public constant
            pending.reached(message.partition() or 0, message.offset() or 0, now_s)
        else:
            try:
                raise_unless_transient(error, topic)
            except Retry as reason:
                trouble = reason
    if trouble is not None:
        raise trouble

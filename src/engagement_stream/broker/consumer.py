"""Consumers: one configuration for all, and reading a topic to its end."""

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from engagement_stream.broker.topics import high_watermarks
from engagement_stream.errors import EngagementError, Fatal, Fenced, Retry
from engagement_stream.settings import KafkaSettings

SESSION_TIMEOUT_MS = 20_000
"""Longer than a transaction may last: a worker that lost its session lost its transaction before."""


def consumer(kafka: KafkaSettings, group: str, **overrides: object) -> Consumer:
    """A read_committed consumer that never commits and never jumps by itself.

    `auto.offset.reset=error`: a position that does not exist any more is an error event, not a silent jump.
    Classic group protocol: a frozen member is replaced within the session timeout (measured; KIP-848's
    default took 45 s).
    """
    return Consumer(
        {
            **kafka.client_config(),
            "group.id": group,
            "group.protocol": "classic",
            "partition.assignment.strategy": "range",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": 3_000,
            "max.poll.interval.ms": 300_000,
            "fetch.wait.max.ms": 500,
            "fetch.message.max.bytes": 1 << 20,
            "fetch.max.bytes": 8 << 20,
            "queued.min.messages": 10_000,
            "fetch.queue.backoff.ms": 20,  # the default rests a whole second each time the queue was full
            "queued.max.messages.kbytes": 16_384,
            **overrides,
        }
    )


def raise_unless_transient(error: KafkaError, topic: str) -> None:
    """Turn an error event of a poll into an instruction; transient ones are librdkafka's to mend.

    Raises Fatal when the position we need is gone, Fenced when our static membership was taken over (perhaps by
    our own later request after an outage: `sits_elsewhere` tells), EngagementError when this consumer is of no use
    any more and the process has to start again.
    """
    if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001 - public constant
        raise Fatal(
            f"{topic}: the position to go on from is no longer in the log ({error.str()})",
            remedy="the log was trimmed below it: rebuild what was missed (engagement rebuild, backfill), "
            "then reset this group's offset on purpose",
        )
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise Retry(f"topic {topic} does not exist")
    fatal = error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001 - public constant
    if error.code() == KafkaError.FENCED_INSTANCE_ID or (fatal and "fenced" in error.str().lower()):
        # librdkafka wraps it: the code is _FATAL, and only the text tells why.
        raise Fenced(f"another process has joined the group in our place ({error.str()})")
    if fatal:
        raise EngagementError(f"{topic}: this consumer can no longer be used: {error.str()}")


def read_range(
    kafka: KafkaSettings,
    topic: str,
    partition: int,
    start: int,
    *,
    end: int | None = None,
    timeout_s: float = 60.0,
    **overrides: object,
) -> Iterator[Message]:
    """Every committed record of one partition from offset `start` to `end`, its present end by default.

    The end is past the high watermark of a read_uncommitted look-up at the time of the call: committed records
    behind somebody else's open transaction are waited for. Raises Retry when that takes longer than
    `timeout_s` without any progress, Fatal when `start` was trimmed away. `overrides` are for the consumer.
    """
    count = max(partition + 1, 1)
    stop = end if end is not None else high_watermarks(kafka, topic, count)[partition]
    if start >= stop:
        return
    # A short fetch wait: the end of the topic is told by an empty fetch.
    reader = consumer(kafka, f"{kafka.prefix}-reader", **{"fetch.wait.max.ms": 20, **overrides})
    try:
        reader.assign([TopicPartition(topic, partition, start)])
        deadline_s = time.monotonic() + timeout_s
        while True:
            for message in reader.consume(5_000, 0.05) or []:
                error = message.error()
                if error is None:
                    if (message.offset() or 0) >= stop:
                        return
                    yield message
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - public constant
                    raise_unless_transient(error, topic)
                    continue
                deadline_s = time.monotonic() + timeout_s if error is None else deadline_s
                # At EOF the offset is the end of what is committed, markers included.
                if (message.offset() or 0) + (1 if error is None else 0) >= stop:
                    return
            if time.monotonic() > deadline_s:
                raise Retry(f"{topic}[{partition}] could not be read to offset {stop} within {timeout_s:.0f} s")
    except KafkaException as error:
        raise Retry(f"{topic}[{partition}] cannot be read: {error.args[0].str()}") from error
    finally:
        reader.close()

"""Waiting with one's place in the group kept: partitions are paused, polling goes on, or the group would evict us."""

import contextlib
import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, Message

from engagement_stream.errors import Retry

_TURN_S = 0.2


def wait_paused(
    reader: Consumer, wait_s: float, stop: threading.Event, each_turn: Callable[[Message | None], None]
) -> None:
    """For `wait_s`, or until `stop`; polls serve rebalances meanwhile, and what they give is `each_turn`'s to handle.

    A Retry of its is passed over: we are waiting already.
    """
    until_s = time.monotonic() + wait_s
    paused = reader.assignment()
    with contextlib.suppress(KafkaException):
        reader.pause(paused)
    while not stop.is_set() and (left_s := until_s - time.monotonic()) > 0:
        with contextlib.suppress(Retry):
            each_turn(reader.poll(min(left_s, _TURN_S)))
    still = {(p.topic, p.partition) for p in reader.assignment()}
    with contextlib.suppress(KafkaException):
        reader.resume([p for p in paused if (p.topic, p.partition) in still])


def forget_pauses(reader: Consumer) -> None:
    """On each revocation: librdkafka remembers a pause beyond the assignment (tried).

    Who gets the partition back would wait for ever.
    """
    with contextlib.suppress(KafkaException):
        reader.resume(reader.assignment())

"""Waiting until a mark has come through every partition: then the stages before the sinks have seen all before it."""

import threading
import time
from collections.abc import Callable, Mapping

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from engagement_stream.broker.consumer import consumer, raise_unless_transient
from engagement_stream.errors import Fatal, Retry
from engagement_stream.model.engagement import Watermark, is_watermark
from engagement_stream.settings import KafkaSettings

_decode = msgspec.json.Decoder(Watermark).decode
_POLL_S = 0.2
_TELL_AFTER_S = 3.0


def await_mark(
    kafka: KafkaSettings,
    mark: str,
    starts: Mapping[int, int],
    *,
    stop: threading.Event,
    patience_s: float,
    tell: Callable[[str], None],
) -> dict[int, int]:
    """Read each partition of the enriched topic from `starts` on until the mark was in it; its offset in each.

    Returns early, not with all of them, when `stop` is set. Raises Retry, and Fatal when for `patience_s` nothing at
    all came any more.
    """
    waiting = set(starts)
    found: dict[int, int] = {}
    reader = consumer(kafka, f"{kafka.prefix}-rebuild")
    heard_s = told_s = time.monotonic()
    try:
        reader.assign([TopicPartition(kafka.enriched_topic, partition, start) for partition, start in starts.items()])
        while waiting and not stop.is_set():
            for message in reader.consume(5_000, _POLL_S) or []:
                problem = message.error()
                if problem is not None:
                    if problem.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - public constant
                        raise_unless_transient(problem, kafka.enriched_topic)
                    continue
                heard_s = time.monotonic()
                if _is(message.value(), mark):
                    partition = message.partition() or 0
                    waiting.discard(partition)
                    found[partition] = message.offset() or 0
            now_s = time.monotonic()
            numbers = ", ".join(map(str, sorted(waiting)))
            if waiting and now_s - heard_s > patience_s:
                raise Fatal(
                    f"a mark written into PostgreSQL did not come through partition {numbers} of "
                    f"{kafka.enriched_topic} within {patience_s:.0f} s: capture or enrich does not run",
                    remedy="start them (/health and `engagement status` tell what they wait for), then run it again",
                )
            if waiting and now_s - told_s > _TELL_AFTER_S:
                told_s = now_s
                tell(f"waiting for capture and enrich to come to the snapshot (partition {numbers})")
    except KafkaException as error:
        raise Retry(f"{kafka.enriched_topic} cannot be read: {error.args[0].str()}") from error
    finally:
        reader.close()
    return found


def _is(value: bytes | str | None, mark: str) -> bool:
    if not isinstance(value, bytes) or not is_watermark(value):
        return False
    try:
        return _decode(value).watermark == mark
    except msgspec.MsgspecError:
        return False

"""What a consumer hands out is taken whole, whatever stands in its midst."""

import pytest
from confluent_kafka import KafkaError, Message

from engagement_stream.errors import Fatal, Retry
from engagement_stream.observe.canaries import Canaries
from engagement_stream.sinks.intake import take
from engagement_stream.sinks.pending import Pending


def _record(offset: int) -> Message:
    return Message(topic="t", partition=0, offset=offset, value=b"{}")


def _error(code: int) -> Message:
    return Message(topic="t", partition=0, error=KafkaError(code))


def test_records_behind_a_passing_error_are_taken() -> None:
    """The consumer has gone past them: were they dropped, the next batch would begin behind a hole."""
    pending = Pending({0: 5})
    messages = [_record(5), _error(KafkaError.UNKNOWN_TOPIC_OR_PART), _record(6), _record(7)]
    with pytest.raises(Retry):
        take(messages, pending, Canaries("redis"), "t")
    (part,) = pending.slices()
    assert (part.prev, part.end, part.offsets) == (5, 8, [5, 6, 7])


def test_an_error_that_librdkafka_mends_itself_is_passed_over() -> None:
    """A lost connection is no reason to wait: the client has begun to connect anew."""
    pending = Pending({0: 0})
    take([_error(KafkaError._ALL_BROKERS_DOWN), _record(0)], pending, Canaries("redis"), "t")
    assert pending.records == 1


def test_a_position_that_is_gone_from_the_log_ends_the_stage_at_once() -> None:
    """Nothing is written any more, so what was not taken is read again by the successor."""
    with pytest.raises(Fatal):
        take([_error(KafkaError.OFFSET_OUT_OF_RANGE), _record(0)], Pending({0: 0}), Canaries("redis"), "t")


def test_the_end_of_a_partition_moves_its_position_past_markers() -> None:
    """Transaction markers take offsets and are never handed out."""
    pending = Pending({0: 5})
    end = Message(topic="t", partition=0, offset=9, error=KafkaError(KafkaError._PARTITION_EOF))
    take([_record(5), end], pending, Canaries("redis"), "t")
    (part,) = pending.slices()
    assert (part.end, part.offsets) == (9, [5])

"""What was read and is not yet durable: nothing is lost between two writes, nothing is offered twice."""

from confluent_kafka import Message

from engagement_stream.sinks.base import Gather, Slice
from engagement_stream.sinks.pending import Pending

EAGER = Gather(max_records=3, linger_s=0.0)
PATIENT = Gather(max_records=3, linger_s=1.0)


def message(offset: int, partition: int = 0, value: bytes | None = None) -> Message:
    """One record."""
    return Message(topic="t", partition=partition, offset=offset, value=b"%d" % offset if value is None else value)


def filled(*offsets: int, start: int = 0) -> Pending:
    """Pending records of partition 0."""
    pending = Pending({0: start})
    for offset in offsets:
        pending.add(message(offset), 10.0)
    return pending


def test_a_slice_begins_where_the_one_before_ended() -> None:
    """Holes in the offsets are markers; they belong to the slice behind them."""
    pending = filled(7, 8, start=5)
    assert pending.slices() == [Slice(0, 5, 9, [7, 8], [b"7", b"8"])]
    pending.done({0: 9})
    pending.add(message(12), 11.0)
    assert pending.slices() == [Slice(0, 9, 13, [12], [b"12"])]


def test_what_lies_below_the_position_is_passed_over() -> None:
    """A seek's leftovers, and what was read before."""
    pending = filled(5, 6, start=5)
    pending.add(message(4), 10.0)
    pending.add(message(6), 10.0)
    pending.add(message(9, partition=3), 10.0)
    assert pending.slices() == [Slice(0, 5, 7, [5, 6], [b"5", b"6"])]
    assert pending.records == 2


def test_a_partial_receipt_leaves_the_rest() -> None:
    """Durable up to the middle of a slice, and nothing of the other partition."""
    pending = Pending({0: 0, 1: 0})
    for offset in (0, 1, 2):
        pending.add(message(offset), 10.0)
    pending.add(message(0, partition=1), 10.0)
    pending.done({0: 1})
    assert pending.slices() == [Slice(0, 1, 3, [1, 2], [b"1", b"2"]), Slice(1, 0, 1, [0], [b"0"])]
    assert (pending.records, pending.bytes) == (3, 3)
    assert pending.positions() == {0: 1, 1: 0}
    pending.done({0: 3, 1: 1})
    assert pending.empty
    assert pending.bytes == 0
    assert pending.slices() == []


def test_a_slice_that_was_handed_out_does_not_change() -> None:
    """A sink may look at it as long as it likes."""
    pending = filled(0)
    (handed_out,) = pending.slices()
    pending.add(message(1), 10.0)
    assert handed_out == Slice(0, 0, 1, [0], [b"0"])


def test_records_are_due_when_there_are_enough_or_the_oldest_waited_long_enough() -> None:
    """Whatever comes first."""
    assert filled(0).due(EAGER, 10.0)
    assert not filled(0).due(PATIENT, 10.9)
    assert filled(0).due(PATIENT, 11.0)
    assert filled(0, 1, 2).due(PATIENT, 10.0)
    assert not Pending({0: 0}).due(EAGER, 99.0)


def test_records_are_due_when_they_grow_too_large() -> None:
    """Five thousand huge records would not fit into memory."""
    pending = Pending({0: 0})
    gather = Gather(max_records=100, linger_s=60.0, max_bytes=1_000)
    pending.add(message(0, value=b"x" * 999), 10.0)
    assert pending.room(gather) == 99
    pending.add(message(1, value=b"x"), 10.0)
    assert pending.room(gather) == 0
    assert pending.due(gather, 10.0)


def test_markers_alone_move_the_position_after_some_quiet() -> None:
    """Not after each batch: that would be a write per transaction for nothing."""
    pending = filled(0)
    pending.reached(0, 2, 10.0)
    assert pending.slices() == [Slice(0, 0, 2, [0], [b"0"])]
    pending.done({0: 1})
    assert not pending.due(EAGER, 11.9)
    assert pending.due(EAGER, 12.0)
    assert pending.slices() == [Slice(0, 1, 2, [], [])]
    pending.done({0: 2})
    assert not pending.due(EAGER, 99.0)


def test_markers_of_a_partition_that_a_receipt_left_out_are_not_forgotten() -> None:
    """Their position moves with a later write."""
    pending = Pending({0: 0, 1: 0})
    pending.reached(0, 2, 10.0)
    pending.reached(1, 3, 10.0)
    pending.done({0: 2})
    assert pending.due(EAGER, 12.0)
    assert pending.slices() == [Slice(1, 0, 3, [], [])]


def test_the_end_of_a_log_that_is_known_already_is_no_news() -> None:
    """Every batch is followed by one."""
    pending = filled(0)
    pending.done({0: 1})
    pending.reached(0, 1, 10.0)
    pending.reached(5, 9, 10.0)
    assert not pending.due(EAGER, 99.0)


def test_the_part_of_a_slice_behind_an_offset() -> None:
    """Also where the offset is a hole, before the slice, or behind it."""
    whole = Slice(0, 2, 10, [3, 5, 8], [b"3", b"5", b"8"])
    assert whole.after(4) == Slice(0, 4, 10, [5, 8], [b"5", b"8"])
    assert whole.after(5) == Slice(0, 5, 10, [5, 8], [b"5", b"8"])
    assert whole.after(0) == whole
    assert whole.after(9) == Slice(0, 9, 10, [], [])

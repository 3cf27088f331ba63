"""What every sink promises, as tests; a sink's own file says how to make it and how to look behind it.

The tests speak to the sink as the runner does, over a MemoryLog, and to its server through a Proxy.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import pytest

from engagement_stream.chaos.proxy import Proxy
from engagement_stream.errors import EngagementError, Reopen, Retry
from engagement_stream.sinks.base import Sink, Slice
from tests.fixtures.engagements import record, watermark
from tests.fixtures.road import MemoryLog, MemoryRoad

POISON = b'{"v":1,"event_id":"not a number"}'


class SinkCase(Protocol):
    """One sink over a server of its own, empty at first."""

    @property
    def proxy(self) -> Proxy:
        """All of the sink's connections go through it."""

    def make(self) -> Sink:
        """A new instance, as a new process would make it: nothing in memory, the same settings."""

    def delivered(self) -> Counter[int]:
        """Event id -> how often its effect is there, read past the proxy. Each event has a content of its own."""


class Worker:
    """The runner's part: offers what is not durable until all of it is."""

    def __init__(self, case: SinkCase, log: MemoryLog, partitions: Sequence[int] = (0,)) -> None:
        self.log, self.partitions = log, partitions
        self.sink = case.make()
        self.road: MemoryRoad = log.road()
        self.positions: dict[int, int] = {}
        self.open()

    def open(self) -> None:
        """Retry as long as a runner would, bounded."""
        deadline_s = time.monotonic() + 30
        while True:
            try:
                self.positions = dict(self.sink.open(self.partitions, self.road))
            except Retry:
                assert time.monotonic() < deadline_s, "does not open"
                time.sleep(0.05)
            else:
                return

    def offer(self, ends: Mapping[int, int] | None = None) -> None:
        """One write of everything up to `ends`, by default to the log's end; the sink's errors pass through."""
        slices = [self.log.slice(p, prev, (ends or {}).get(p)) for p, prev in self.positions.items()]
        self._write([part for part in slices if part.end > part.prev])

    def deliver(self, timeout_s: float = 30.0) -> None:
        """Offer until everything in the log is durable."""
        deadline_s = time.monotonic() + timeout_s
        while slices := self.log.slices(self.positions):
            assert time.monotonic() < deadline_s, f"not durable: {slices}"
            try:
                self._write(slices)
            except Retry:
                time.sleep(0.05)
            except Reopen:
                self.open()

    def _write(self, slices: list[Slice]) -> None:
        receipt = self.sink.write(slices)
        for partition, offset in receipt.durable.items():
            assert offset >= self.positions[partition], "a durable position went back"
        self.positions.update(receipt.durable)


class TenEvents:
    """The log that contracts begin with."""

    @pytest.fixture
    def log(self) -> MemoryLog:
        """Ten events in partition 0, in two transactions."""
        log = MemoryLog()
        log.append(0, records(1, 5))
        log.append(0, records(6, 10))
        return log


class SinkContract(TenEvents):
    """Subclass it in `test_<sink>_contract.py` beside a fixture `case`."""

    def test_every_event_is_delivered_once(self, case: SinkCase, log: MemoryLog) -> None:
        """In all partitions, over transactions' markers."""
        log.append(1, records(11, 20))
        with working(case, log, (0, 1)) as worker:
            worker.deliver()
            assert case.delivered() == once(1, 20)

    def test_a_slice_whose_receipt_was_lost_is_applied_once(self, case: SinkCase, log: MemoryLog) -> None:
        """The process died after the write; the next one is offered what its opening asks for."""
        with working(case, log) as first:
            first.offer()
        with working(case, log) as second:
            second.deliver()
            assert case.delivered() == once(1, 10)

    def test_a_lost_answer_doubles_nothing(self, case: SinkCase, log: MemoryLog) -> None:
        """The server acted, the answer was lost on the way."""
        with working(case, log) as worker:
            worker.offer({0: 6})
            case.proxy.drop_answers()
            with contextlib.suppress(Retry, Reopen):
                worker.offer()
            assert case.proxy.answers_dropped
            case.proxy.heal()
            worker.deliver()
            assert case.delivered() == once(1, 10)

    def test_a_lost_answer_doubles_nothing_when_more_came_meanwhile(self, case: SinkCase, log: MemoryLog) -> None:
        """The next offer overlaps with what was applied: the overlap is trimmed."""
        with working(case, log) as worker:
            case.proxy.drop_answers()
            with contextlib.suppress(Retry, Reopen):
                worker.offer({0: 6})
            case.proxy.heal()
            log.append(0, records(11, 15))
            worker.deliver()
            assert case.delivered() == once(1, 15)

    def test_a_process_that_dies_over_a_lost_answer_doubles_nothing(self, case: SinkCase, log: MemoryLog) -> None:
        """Nobody is left who could know whether the server acted."""
        with working(case, log) as first:
            case.proxy.drop_answers()
            with contextlib.suppress(Retry, Reopen):
                first.offer({0: 6})
            case.proxy.heal()
        log.append(0, records(11, 15))
        with working(case, log) as second:
            second.deliver()
            assert case.delivered() == once(1, 15)

    def test_an_unreachable_server_is_waited_for(self, case: SinkCase, log: MemoryLog) -> None:
        """Retry, for as long as it takes; afterwards the same offer succeeds."""
        with working(case, log) as worker:
            case.proxy.refuse()
            for _ in range(2):
                with pytest.raises(Retry):
                    worker.offer()
            case.proxy.heal()
            worker.deliver()
            assert case.delivered() == once(1, 10)

    def test_a_server_unreachable_at_opening_is_waited_for(self, case: SinkCase, log: MemoryLog) -> None:
        """Unless opening needs no server at all."""
        case.proxy.refuse()
        sink, road = case.make(), log.road()
        with contextlib.suppress(Retry):
            sink.open((0,), road)
        sink.close()
        case.proxy.heal()
        with working(case, log) as worker:
            worker.deliver()
            assert case.delivered() == once(1, 10)

    def test_a_broken_connection_is_made_anew(self, case: SinkCase, log: MemoryLog) -> None:
        """Between two writes."""
        with working(case, log) as worker:
            worker.offer({0: 6})
            case.proxy.cut()
            worker.deliver()
            assert case.delivered() == once(1, 10)

    def test_a_new_instance_opens_where_the_old_one_was(self, case: SinkCase, log: MemoryLog) -> None:
        """Neither before (double) nor behind (lost)."""
        with working(case, log) as first:
            first.offer({0: 6})
            stood = first.positions[0]
        with working(case, log) as second:
            assert second.positions == {0: stood}
            second.deliver()
            assert case.delivered() == once(1, 10)

    def test_a_zombie_writes_nothing(self, case: SinkCase, log: MemoryLog) -> None:
        """It wakes up with an old batch after its successor has opened, and again after that has gone on."""
        with working(case, log) as zombie, working(case, log) as successor:
            with contextlib.suppress(EngagementError):
                zombie.offer({0: 6})
            successor.deliver()
            with contextlib.suppress(EngagementError):
                zombie.offer()
            assert case.delivered() == once(1, 10)
            log.append(0, records(11, 15))
            successor.deliver()
            assert case.delivered() == once(1, 15)

    def test_a_zombie_with_an_old_batch_writes_nothing(self, case: SinkCase, log: MemoryLog) -> None:
        """Its batch ends long before the position of its successor, which must not be led astray either."""
        with working(case, log) as zombie, working(case, log) as successor:
            successor.deliver()
            with contextlib.suppress(EngagementError):
                zombie.offer({0: 6})
            log.append(0, records(11, 15))
            successor.deliver()
            assert case.delivered() == once(1, 15)

    def test_a_zombie_in_the_middle_of_its_work_writes_nothing_twice(self, case: SinkCase, log: MemoryLog) -> None:
        """It had written before it froze."""
        with working(case, log) as zombie:
            zombie.offer({0: 6})
            with working(case, log) as successor:
                successor.deliver()
                with contextlib.suppress(EngagementError):
                    zombie.offer()
                log.append(0, records(11, 15))
                successor.deliver()
                assert case.delivered() == once(1, 15)

    def test_a_poison_record_is_dead_lettered_once_and_the_rest_delivered(self, case: SinkCase) -> None:
        """Also when it is met again by another process."""
        log = MemoryLog()
        log.append(0, [*records(1, 3), POISON, *records(4, 6)])
        with working(case, log) as first:
            case.proxy.drop_answers()
            with contextlib.suppress(Retry, Reopen):
                first.offer()
            case.proxy.heal()
        with working(case, log) as second:
            second.deliver()
            name = second.sink.name
        assert list(log.letters) == [f"{name}/{log.topic}/0/3".encode()]
        (letter,) = log.letters.values()
        assert letter.value == POISON
        assert letter.detail
        assert case.delivered() == once(1, 6)

    def test_nothing_but_poison_moves_the_position(self, case: SinkCase) -> None:
        """A batch that leaves nothing to deliver."""
        log = MemoryLog()
        log.append(0, [POISON])
        with working(case, log) as worker:
            worker.deliver()
        with working(case, log) as again:
            assert again.positions == {0: 2}

    def test_a_watermark_moves_the_position_and_has_no_effect(self, case: SinkCase) -> None:
        """Alone, and among events."""
        log = MemoryLog()
        log.append(0, [watermark()])
        with working(case, log) as worker:
            worker.deliver()
            assert worker.positions == {0: 2}
            log.append(0, [*records(1, 2), watermark(), *records(3, 4)])
            worker.deliver()
            assert case.delivered() == once(1, 4)
        with working(case, log) as again:
            assert again.positions == {0: log.ends[0]}
        assert not log.letters

    def test_an_empty_slice_moves_the_position(self, case: SinkCase, log: MemoryLog) -> None:
        """Markers alone; retention may delete them, so the position must not stay in front of them."""
        with working(case, log) as worker:
            worker.deliver()
            log.append(0, [])
            worker.deliver()
            assert worker.positions == {0: log.ends[0]}
        with working(case, log) as again:
            assert again.positions == {0: log.ends[0]}

    def test_closing_in_the_middle_loses_and_doubles_nothing(self, case: SinkCase, log: MemoryLog) -> None:
        """After a good write and after a failed one; twice is as good as once."""
        with working(case, log) as worker:
            worker.offer({0: 6})
            case.proxy.drop_answers()
            with contextlib.suppress(Retry, Reopen):
                worker.offer({0: 9})
            worker.sink.close()
            worker.sink.close()
            case.proxy.heal()
            worker.open()
            worker.deliver()
            assert case.delivered() == once(1, 10)


def records(first: int, last: int) -> list[bytes]:
    """Events `first` to `last`, each of a content of its own."""
    return [record(number, content=number) for number in range(first, last + 1)]


def once(first: int, last: int) -> Counter[int]:
    """Each of them once."""
    return Counter(range(first, last + 1))


@contextmanager
def working(case: SinkCase, log: MemoryLog, partitions: Sequence[int] = (0,)) -> Iterator[Worker]:
    """A worker that has opened and will be closed."""
    worker = Worker(case, log, partitions)
    try:
        yield worker
    finally:
        worker.sink.close()

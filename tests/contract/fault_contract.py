"""The contract under every fault of the vocabulary, whoever goes on afterwards; see `sink_contract`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import pytest

from engagement_stream.errors import EngagementError, Reopen, Retry
from engagement_stream.testing.faults import FAULTS, Fault, Hold, Reject
from tests.contract.sink_contract import SinkCase, TenEvents, Worker, once, records, working
from tests.fixtures.faulty_proxy import FaultyProxy
from tests.fixtures.road import MemoryLog
from tests.fixtures.waiting import wait_until

each_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)


class FaultyCase(SinkCase, Protocol):
    """A case whose server can be made to refuse, and whose answers pass a FaultyProxy."""

    @property
    def proxy(self) -> FaultyProxy:
        """All of the sink's connections go through it."""

    def refuse(self) -> None:
        """The server itself refuses every write, in its own words, until `accept`."""

    def accept(self) -> None:
        """It takes writes again."""


class Attempt:
    """One write in a thread of its own, since its answer may not come before somebody lets it."""

    def __init__(self, worker: Worker, end: int) -> None:
        self.error: EngagementError | None = None
        self._worker, self._end = worker, end
        self._thread = threading.Thread(target=self._offer, name="attempt", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(30)
        assert self.over, "the write does not come back"

    def _offer(self) -> None:
        try:
            self._worker.offer({0: self._end})
        except EngagementError as error:
            self.error = error


class FaultContract(TenEvents):
    """Subclass it beside SinkContract."""

    @each_fault
    def test_the_same_process_goes_on(self, case: FaultyCase, log: MemoryLog, fault: Fault) -> None:
        """It tries again once the fault is over, perhaps with more records behind the same ones."""
        with working(case, log) as worker, struck(case, worker, fault, end=6) as attempt:
            case.proxy.answers.release()
            case.accept()
            attempt.join()
            assert isinstance(attempt.error, Retry | Reopen | None)
            case.proxy.heal()
            log.append(0, records(11, 15))
            worker.deliver()
            assert case.delivered() == once(1, 15)
        assert not log.letters

    @each_fault
    def test_a_new_process_takes_over_from_a_dead_one(self, case: FaultyCase, log: MemoryLog, fault: Fault) -> None:
        """The first one dies in the middle of the fault: its connections end, and nobody knows what it knew."""
        with working(case, log) as first, struck(case, first, fault, end=6) as attempt:
            case.accept()
            case.proxy.heal()
            attempt.join()
        log.append(0, records(11, 15))
        with working(case, log) as second:
            second.deliver()
            assert case.delivered() == once(1, 15)
        assert not log.letters

    @each_fault
    def test_a_zombie_that_wakes_up_doubles_nothing(self, case: FaultyCase, log: MemoryLog, fault: Fault) -> None:
        """It hangs in the fault while its successor delivers; then it wakes, ends its write and even tries again."""
        with working(case, log) as zombie, struck(case, zombie, fault, end=6) as attempt:
            case.accept()
            with working(case, log) as successor:
                successor.deliver()
                if isinstance(fault, Hold):
                    assert not attempt.over
                case.proxy.answers.release()
                attempt.join()
                for end in (6, 12):
                    with suppress(EngagementError):
                        zombie.offer({0: end})
                log.append(0, records(11, 15))
                successor.deliver()
                assert case.delivered() == once(1, 15)
        assert not log.letters


@contextmanager
def struck(case: FaultyCase, worker: Worker, fault: Fault, *, end: int) -> Iterator[Attempt]:
    """A write of everything up to `end` that has met the fault."""
    if isinstance(fault, Reject):
        case.refuse()
    case.proxy.answers.inject(fault)
    attempt = Attempt(worker, end)
    try:
        if isinstance(fault, Reject):
            attempt.join()
            assert isinstance(attempt.error, Retry), "a refusal is waited out"
        else:
            assert case.proxy.answers.met.wait(30), f"the write did not meet {fault}"
            wait_until(case.delivered, 30.0, "the server to act although nobody hears of it")
        yield attempt
    finally:
        case.accept()
        case.proxy.heal()
        attempt.join()

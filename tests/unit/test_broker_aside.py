"""A call that may never return holds nobody up, and its thread serves the next one as long as it does return."""

import threading
import weakref

import pytest

from engagement_stream.broker.aside import Aside
from tests.fixtures.waiting import wait_until

LONG_S = 30.0


def test_calls_share_one_thread_that_is_not_the_callers() -> None:
    """A thread of its own for each would cost more than most of what is called."""
    aside, threads = Aside("aside"), []
    for _ in range(3):
        assert aside.call(lambda: threads.append(threading.current_thread()), LONG_S)
    aside.close()
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()
    threads[0].join(LONG_S)
    assert not threads[0].is_alive()


def test_what_a_call_raises_is_raised_here() -> None:
    """And the next call is made all the same."""
    aside = Aside("aside")

    def fails() -> None:
        raise LookupError("as it was raised")

    with pytest.raises(LookupError, match="as it was raised"):
        aside.call(fails, LONG_S)
    assert aside.call(lambda: None, LONG_S)
    aside.close()


def test_a_call_that_does_not_return_is_left_behind() -> None:
    """The next one has another thread; the old one ends when its call does."""
    aside, go_on, stuck = Aside("aside"), threading.Event(), []

    def hangs() -> None:
        stuck.append(threading.current_thread())
        go_on.wait(LONG_S)

    assert not aside.call(hangs, 0.05)
    assert aside.call(lambda: None, LONG_S)
    aside.close()
    go_on.set()
    for thread in stuck:
        thread.join(LONG_S)
        assert not thread.is_alive()


def test_what_was_called_is_not_kept() -> None:
    """A producer that is dropped must end, although the thread that called it waits for its next call."""

    class Producer:
        def send(self) -> None: ...

    aside, producer = Aside("aside"), Producer()
    seen = weakref.ref(producer)
    assert aside.call(producer.send, LONG_S)
    del producer
    wait_until(lambda: seen() is None, LONG_S, "the producer is dropped")
    aside.close()

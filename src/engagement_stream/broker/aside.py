"""Calls that may never return, made in a thread beside the caller's and bounded from outside."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

_Calls = SimpleQueue[tuple[Callable[[], object], Future[None]] | None]


class Aside:
    """One call at a time, one thread for all of them: a thread of its own for each would cost twice as much."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: _Calls | None = None

    def call(self, function: Callable[[], object], timeout_s: float) -> bool:
        """Whether it returned within `timeout_s`; raises what it raises. If not, its thread is left behind with it."""
        if self._calls is None:
            self._calls = SimpleQueue()
            threading.Thread(target=_serve, args=(self._calls,), name=self._name, daemon=True).start()
        answer: Future[None] = Future()
        self._calls.put((function, answer))
        try:
            error = answer.exception(timeout_s)
        except TimeoutError:
            self.close()
            return False
        if error is not None:
            raise error
        return True

    def close(self) -> None:
        """The thread ends, now or when the call that it is in returns."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None


def _serve(calls: _Calls) -> None:
    while (item := calls.get()) is not None:
        _answer(*item)
        del item  # it holds a producer, which may be dropped while this waits


def _answer(function: Callable[[], object], answer: Future[None]) -> None:
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
        answer.set_exception(error)
    else:
        answer.set_result(None)

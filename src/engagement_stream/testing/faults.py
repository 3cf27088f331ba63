"""What a server may do wrong to whoever sends it something: four words, and their effect on its answers.

    Reject          it refuses, and does nothing
    FailAfterWrite  it acts, and its answer is lost
    Hold            it acts, and its answer comes only when it is released
    Slow            it acts, and its answer drips

Every other mishap of a call over a network looks like one of them from the caller's side. A sink is right if none of
them loses or doubles an event, whoever goes on afterwards: the same process, a new one, or both.

`Answers` is what a relay (a proxy, a stub) hands every answer to; Reject is the server's own to do:

    answers = Answers()
    answers.inject(FailAfterWrite())
    ...                                  # in the relay: answers.pass_on(client, data)
    answers.met.wait(10)                 # until the fault has struck
    answers.heal()
"""

import threading
import time
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reject:
    """The server refuses: it answers with an error, or not even the connection, and does nothing, until healed."""


@dataclass(frozen=True, slots=True)
class FailAfterWrite:
    """The server acts; its next answer is lost with the connection."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The server acts; its next answer, and all behind it on that connection, come when they are released."""


@dataclass(frozen=True, slots=True)
class Slow:
    """The server acts; its next answer, and all behind it on that connection, come byte by byte."""

    seconds_per_byte: float = 0.002


Fault = Reject | FailAfterWrite | Hold | Slow
FAULTS: tuple[Fault, ...] = (Reject(), FailAfterWrite(), Hold(), Slow())
"""One of each."""


class Client(Protocol):
    """Where an answer goes to."""

    def sendall(self, data: bytes, /) -> None: ...


class Answers:
    """Applies a fault to the first connection that an answer comes over; the others are left alone. Thread-safe.

    So a caller that hangs in a fault does not keep its successor, who has connections of its own, from working.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._struck: int | None = None
        self._free = threading.Event()
        self._free.set()
        self.met = threading.Event()
        """Set once an answer has met the fault."""

    def inject(self, fault: Fault) -> None:
        """From the next answer on. Reject is not ours: the server itself has to refuse."""
        with self._lock:
            self._fault, self._struck = fault, None
            self.met.clear()
            if isinstance(fault, Hold):
                self._free.clear()

    def release(self) -> None:
        """What is held goes on its way; what drips comes at once."""
        with self._lock:
            self._fault = None
            self._free.set()

    heal = release

    def pass_on(self, client: Client, data: bytes, *, is_answer: bool = True) -> None:
        """Send an answer, or do to it what was injected. Raises ConnectionResetError where it is lost.

        `is_answer`: false for what a protocol sends of its own accord (an acknowledgement, a window): no fault
        begins with it.
        """
        fault = self._fault_of(id(client), is_answer=is_answer)
        match fault:
            case FailAfterWrite():
                raise ConnectionResetError("the answer is lost, as was asked for")
            case Hold():
                self._free.wait()
                client.sendall(data)
            case Slow(seconds_per_byte=pause_s):
                for at in range(len(data)):
                    if self._fault is not fault:
                        return client.sendall(data[at:])
                    client.sendall(data[at : at + 1])
                    time.sleep(pause_s)
            case _:
                client.sendall(data)
        return None

    def _fault_of(self, connection: int, *, is_answer: bool) -> Fault | None:
        with self._lock:
            fault = self._fault
            if fault is None or isinstance(fault, Reject):
                return None
            if self._struck is None and is_answer:
                self._struck = connection
                self.met.set()
            if self._struck != connection:
                return None
            if isinstance(fault, FailAfterWrite):
                self._fault = None
            return fault

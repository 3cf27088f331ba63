"""What the receiver can be told to do wrong: a vocabulary, and the queue that hands it out."""

import threading
from collections.abc import Iterable

import msgspec


class _Fault(msgspec.Struct, frozen=True, tag_field="fault", forbid_unknown_fields=True):
    times: int = 1
    """To so many requests; 0 means until cleared."""
    event_id: str | None = None
    """Only to requests that hold this event."""


class Reject(_Fault, frozen=True, tag="reject", kw_only=True):
    """Answer with `status` and store nothing."""

    status: int
    retry_after: str | None = None
    location: str | None = None
    min_events: int = 0
    """Only to requests of at least so many events: a limit on size."""
    text: str = ""


class FailAfterWrite(_Fault, frozen=True, tag="fail_after_write"):
    """Store the batch, then drop the connection without an answer."""


class HoldAnswer(_Fault, frozen=True, tag="hold", kw_only=True):
    """Store the batch, then wait before the answer."""

    seconds: float


class SlowAnswer(_Fault, frozen=True, tag="slow", kw_only=True):
    """Store the batch, then answer one byte at a time."""

    seconds_per_byte: float


Fault = Reject | FailAfterWrite | HoldAnswer | SlowAnswer

encode_faults = msgspec.json.Encoder().encode
decode_faults = msgspec.json.Decoder(list[Fault]).decode
"""JSON list -> faults; raises msgspec.MsgspecError."""


class FaultQueue:
    """First come, first served among those that fit a request. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Fault, int]] = []

    def add(self, faults: Iterable[Fault]) -> None:
        """Queue them behind the others."""
        with self._lock:
            self._waiting += [(fault, fault.times) for fault in faults]

    def clear(self) -> None:
        """Behave from now on."""
        with self._lock:
            self._waiting = []

    def waiting(self) -> list[Fault]:
        """Those that are not used up."""
        with self._lock:
            return [fault for fault, _ in self._waiting]

    def take(self, event_ids: Iterable[str]) -> Fault | None:
        """The fault for a request with these events."""
        if not self._waiting:
            return None
        ids = set(event_ids)
        with self._lock:
            for index, (fault, left) in enumerate(self._waiting):
                if fault.event_id is not None and fault.event_id not in ids:
                    continue
                if isinstance(fault, Reject) and len(ids) < fault.min_events:
                    continue
                if left == 1:
                    del self._waiting[index]
                elif left > 1:
                    self._waiting[index] = (fault, left - 1)
                return fault
        return None

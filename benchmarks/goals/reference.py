"""How fast the machine is meanwhile: its clock and its neighbours change by the minute, and all figures with them."""

import threading
import time
from collections.abc import Sequence
from statistics import median
from types import TracebackType
from typing import Self

import msgspec

_DOCUMENTS = 2_000
_EVERY_S = 0.5


class Reference:
    """A thread that twice a second reads and writes some JSON and looks at what CPU that took: 0.5 % of a core."""

    def __init__(self) -> None:
        names = ("content_id", "user_id", "event_type", "event_ts", "device", "raw_payload", "slug", "title")
        self._documents = [
            msgspec.json.encode({name: f"{name} of event {n}" for name in names}) for n in range(_DOCUMENTS)
        ]
        self._samples: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reference", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def us(self) -> float:
        """CPU a document: the median of all looks since the last call."""
        samples, self._samples = self._samples, []
        return median(samples or [_look(self._documents)])

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._samples.append(_look(self._documents))


def _look(documents: Sequence[bytes]) -> float:
    started_s = time.thread_time()
    for document in documents:
        msgspec.json.encode(msgspec.json.decode(document))
    return (time.thread_time() - started_s) / len(documents) * 1e6

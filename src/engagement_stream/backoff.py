"""Exponential back-off with full jitter: as a value without clock or randomness, and as the waits of one attempt.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """`wait_s(attempt, random01)` is uniform in (0, min(cap, base * 2**attempt)]."""

    base_s: float = 0.1
    cap_s: float = 30.0

    def wait_s(self, attempt: int, random01: float) -> float:
        """Seconds to wait after the failed attempt number `attempt` (0 is the first)."""
        ceiling_s: float = min(self.cap_s, self.base_s * 2.0 ** min(attempt, 32))
        return ceiling_s * max(random01, 0.05)


class Patience:
    """The waits of something that is tried again and again; after a success they begin anew."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self.failures = 0
        """In a row."""

    def next_wait_s(self) -> float:
        """It failed once more: seconds to wait before the next try."""
        wait_s = self._backoff.wait_s(self.failures, random.random())  # noqa: S311 - spread, not secrecy
        self.failures += 1
        return wait_s

    def begin_anew(self) -> None:
        self.failures = 0

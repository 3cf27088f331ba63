"""Exponential back-off with full jitter, as a value: no waiting, no clock, no randomness of its own.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

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

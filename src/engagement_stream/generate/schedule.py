"""Open loop: which moments are due, whatever became of the earlier ones. Pure; the clock is passed in."""


class Schedule:
    """Moment number n is `n / rate_per_s` after the start; all times are seconds of one steady clock."""

    def __init__(self, rate_per_s: float, start_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._start_s = start_s
        self._taken = 0
        self._taken_at_s = start_s

    def wait_s(self, now_s: float, tick_s: float) -> float:
        """Until the next moment; while on schedule at least `tick_s` after the last look, so that several gather."""
        next_s = self._start_s + self._taken / self._rate_per_s
        if now_s - next_s > 2 * tick_s:
            return 0.0
        return max(0.0, next_s - now_s, self._taken_at_s + tick_s - now_s)

    def take(self, now_s: float, limit: int) -> list[int]:
        """The moments that are due and were not taken, oldest first, in microseconds of the same clock."""
        due = int((now_s - self._start_s) * self._rate_per_s) + 1
        until = min(max(due, self._taken), self._taken + limit)
        moments = [int((self._start_s + number / self._rate_per_s) * 1_000_000) for number in range(self._taken, until)]
        self._taken, self._taken_at_s = until, now_s
        return moments

    def behind_s(self, now_s: float) -> float:
        """The age of the oldest moment that was not taken; 0 on schedule."""
        return max(0.0, now_s - (self._start_s + self._taken / self._rate_per_s))

"""When to hold back: rests the endpoint asked for, probing after an outage, refusals that smell of a wrong setting.

One of it per endpoint, since all partitions speak to the same one; pure, the clock is passed in.
"""

REFUSALS_IN_A_ROW = 10
"""So many single records are dead-lettered without one success between them; then the endpoint is suspected.

An endpoint that refuses everything (a wrong URL, a changed schema) would otherwise empty the stream into the
dead-letter queue. Any delivery, in any partition, starts the count again; so does a restart, by which a person says
that the records really are at fault.
"""


class Caution:
    """What the last answers taught."""

    def __init__(self) -> None:
        self.probing = False
        """The endpoint failed last: one request is enough to learn whether it is back."""
        self.reason = ""
        self._rest_until_s = 0.0
        self._refusals = 0
        self._turn = 0

    def delivered(self) -> None:
        """It takes events."""
        self.probing, self.reason = False, ""
        self._refusals = 0
        self._rest_until_s = 0.0

    def failed(self, reason: str, after_s: float | None, now_s: float) -> None:
        """It does not, now."""
        self.probing, self.reason = True, reason
        if after_s is not None:
            self._rest_until_s = max(self._rest_until_s, now_s + after_s)

    def may_dead_letter(self) -> bool:
        """Whether one more refused record may be set aside; counts it."""
        if self._refusals >= REFUSALS_IN_A_ROW:
            return False
        self._refusals += 1
        return True

    def rest_s(self, now_s: float) -> float:
        """Seconds during which nothing may be sent."""
        return max(self._rest_until_s - now_s, 0.0)

    def turn(self, lanes: int) -> int:
        """Whose turn it is to probe: one after the other, so that a lane that cannot succeed does not block all."""
        self._turn += 1
        return self._turn % lanes

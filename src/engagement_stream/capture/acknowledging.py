"""When to tell the server what is durable: after commits, when it asks, and often enough to stay alive."""

import time

from engagement_stream.capture.session import ReplicationSession
from engagement_stream.crashpoint import crash_point

_MOVED_EVERY_S = 0.1
_UNMOVED_EVERY_S = 10.0


class Acknowledging:
    """Its only positions are those it is given, and it is only given committed ones."""

    def __init__(self, session: ReplicationSession) -> None:
        self._session = session
        self._told_lsn = 0
        self._told_s = 0.0

    def when_due(self, lsn: int, now_s: float) -> None:
        """After a commit, or between two: at most ten times a second, at least every ten seconds."""
        age_s = now_s - self._told_s
        if age_s >= (_MOVED_EVERY_S if lsn != self._told_lsn else _UNMOVED_EVERY_S):
            self.now(lsn)

    def when_idle(self, lsn: int, now_s: float) -> None:
        """Nothing more to come for now: what was committed is told at once."""
        if lsn != self._told_lsn:
            self.now(lsn)
        else:
            self.when_due(lsn, now_s)

    def now(self, lsn: int, *, want_reply: bool = False) -> None:
        crash_point("capture.before_acknowledge")
        self._session.send_status(lsn, want_reply=want_reply)
        crash_point("capture.after_acknowledge")
        self._told_lsn, self._told_s = lsn, time.monotonic()

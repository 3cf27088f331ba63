"""Sends a canary into PostgreSQL now and then; it comes back by the stream, like every change.

A logical message and not a row: nothing to clean up, nothing that a sink could mistake for data, and it goes the
same way through the slot, the topics and the fences.
"""

import time

from engagement_stream.capture.source import Source
from engagement_stream.crashpoint import crash_point
from engagement_stream.model.canary import canary_text
from engagement_stream.observe.log import log
from engagement_stream.observe.status import StageStatus


class CanarySender:
    """`interval_s` 0: never sends. A source that refuses (a standby takes no writes) is told about once."""

    def __init__(self, source: Source, interval_s: float, status: StageStatus) -> None:
        self._source, self._interval_s, self._status = source, interval_s, status
        self._sent_s = float("-inf")
        status.canaries.given_up()

    def when_due(self, now_s: float) -> None:
        """Send one if it is time. Raises Retry when the server does not answer."""
        if not self._interval_s or now_s - self._sent_s < self._interval_s:
            return
        self._sent_s = now_s
        sent_us = time.time_ns() // 1000
        crash_point("capture.before_canary")
        refusal = self._source.emit_canary(canary_text(sent_us))
        crash_point("capture.after_canary")
        if refusal:
            self._interval_s = 0
            self._status.detail(canary_refused=refusal)
            log().warning("no canaries: the source takes none", reason=refusal)
        else:
            self._status.canaries.sent(sent_us)

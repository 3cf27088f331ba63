"""Named steps at which a test may kill the process: `ENGAGEMENT_CRASH_AT=name[:nth]`.

Unarmed (always, outside tests) `crash_point` is an empty function, bound once at import.
The process dies by SIGKILL, as it would from the kernel: no handler, no flush, no farewell.
"""

import os
import signal
from collections.abc import Callable


def _armed(spec: str) -> Callable[[str], None]:
    name, _, nth = spec.partition(":")
    left = int(nth or 1)

    def crash(at: str) -> None:
        nonlocal left
        if at == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return crash


def _unarmed(_at: str) -> None:
    return None


crash_point: Callable[[str], None] = (
    _armed(os.environ["ENGAGEMENT_CRASH_AT"]) if os.environ.get("ENGAGEMENT_CRASH_AT") else _unarmed
)
"""Call it with the step's name, `room.step`, before and after each call to the outside."""

"""What is done to the stages' processes: killed, armed, frozen, doubled, multiplied."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

from engagement_stream.chaos.crew import MOST_WORKERS, Crew
from engagement_stream.chaos.plan import Fault

_UP_WITHIN_S = 40.0
_CRASH_WITHIN_S = 20.0
_ENDS_WITHIN_S = 60.0
_POLL_S = 0.05


class Skipped(Exception):
    """There was nothing to break at that moment."""


class StageStrikes:
    """Each method returns when its fault is over; what it has to tell is its answer. Ends early when `stop` is set."""

    def __init__(self, crew: Crew, stop: threading.Event) -> None:
        self._crew, self._stop = crew, stop
        self.kills: Counter[str] = Counter()

    def kill(self, fault: Fault) -> str:
        self._kill(fault.target)
        return ""

    def crash(self, fault: Fault) -> str:
        """Two deaths: a random one, and the successor's at its named step."""
        crew, stage = self._crew, fault.target
        before = self._up(stage)
        crew.arm(stage, str(fault.parameters["at"]), int(fault.parameters["nth"]))
        try:
            self._kill(stage)
            armed = self._await(lambda: (pid := crew.pid(stage)) != before and pid, _UP_WITHIN_S)
        finally:
            crew.disarm(stage)
        if self._await(lambda: crew.pid(stage) != armed, _CRASH_WITHIN_S):
            self.kills[stage] += 1
            return ""
        if crew.pid(stage) == armed:  # later it would die at a moment that belongs to another fault
            self._kill(stage)
        return "the step was not reached"

    def zombie(self, fault: Fault) -> str:
        """Over as soon as there is a successor; the frozen one is woken much later, in the background."""
        self._up(fault.target)
        self._crew.signal(fault.target, signal.SIGSTOP)
        stray = self._crew.succeed(fault.target)
        if stray is None:
            raise Skipped("it died in the same moment")

        def wake() -> None:
            self._stop.wait(fault.hold_s)
            self._crew.wake(stray)

        threading.Thread(target=wake, name="wake", daemon=True).start()
        return ""

    def pause(self, fault: Fault) -> str:
        self._up(fault.target)
        frozen = self._crew.signal(fault.target, signal.SIGSTOP)
        self._stop.wait(fault.hold_s)
        if frozen is not None and self._crew.pid(fault.target) == frozen:
            self._crew.signal(fault.target, signal.SIGCONT)
        return ""

    def twin(self, fault: Fault) -> str:
        self._crew.twin(fault.target)
        return ""

    def restart(self, fault: Fault) -> str:
        before = self._up(fault.target)
        self._crew.signal(fault.target, signal.SIGTERM)
        if not self._await(lambda: self._crew.pid(fault.target) != before, _ENDS_WITHIN_S):
            self._kill(fault.target)
            return f"did not end by itself within {_ENDS_WITHIN_S:.0f} s"
        return ""

    def rebalance(self, fault: Fault) -> str:
        self._crew.scale(fault.target, MOST_WORKERS)
        self._stop.wait(fault.hold_s)
        self._crew.scale(fault.target, 1)
        return ""

    def _kill(self, stage: str) -> None:
        self._up(stage)
        if self._crew.signal(stage, signal.SIGKILL) is not None:
            self.kills[stage] += 1

    def _up(self, stage: str) -> int:
        """Wait until the stage answers; its process id."""
        self._await(lambda: self._crew.status(stage) is not None, _UP_WITHIN_S)
        pid = self._await(lambda: self._crew.pid(stage), _UP_WITHIN_S)
        if not pid:
            raise Skipped(f"{stage} was not there")
        return pid

    def _await(self, condition: Callable[[], "int | bool | None"], within_s: float) -> int:
        """What the condition answers once it is true, 0 if it never is."""
        deadline_s = time.monotonic() + within_s
        while not (found := condition()):
            if time.monotonic() > deadline_s or self._stop.wait(_POLL_S):
                return 0
        return int(found)

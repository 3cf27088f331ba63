"""From a planned fault to the deed; the only place that knows which kind is done how."""

import threading
from collections.abc import Callable, Mapping

from engagement_stream.chaos.crew import Crew
from engagement_stream.chaos.kinds import BY_NAME
from engagement_stream.chaos.plan import Fault
from engagement_stream.chaos.server_strikes import ServerStrikes
from engagement_stream.chaos.stage_strikes import Skipped, StageStrikes
from engagement_stream.chaos.world import ChaosWorld

_LOCK_WITHIN_S = 120.0


class Strikes:
    """Strikes one target at a time: a second fault at the same target waits until the first is over."""

    def __init__(self, world: ChaosWorld, crew: Crew, stop: threading.Event, seed: int) -> None:
        self.stages = StageStrikes(crew, stop)
        self.servers = ServerStrikes(world, world.settings(), stop, seed)
        self._locks: Mapping[str, threading.Lock] = {**world.locks, **crew.locks, "source": threading.Lock()}
        stages, servers = self.stages, self.servers
        self._deeds: dict[str, Callable[[Fault], str]] = {
            "kill": stages.kill,
            "crash point": stages.crash,
            "zombie": stages.zombie,
            "pause": stages.pause,
            "twin": stages.twin,
            "restart": stages.restart,
            "rebalance": stages.rebalance,
            "server killed": servers.killed,
            "server restarted": servers.restarted,
            "server frozen": servers.frozen,
            "connections reset": servers.reset,
            "black hole": servers.black_hole,
            "late delivery": servers.late,
            "slow network": servers.slow,
            "answers cut": servers.cut,
            "answers swallowed": servers.swallow,
            "connections refused": servers.refuse,
            "FLUSHALL": servers.flush_all,
            "SCRIPT FLUSH": servers.flush_scripts,
            "walsender ended": servers.end_walsender,
            "receiver refuses": servers.receiver_refuses,
            "receiver limits": servers.receiver_limits,
            "receiver silent": servers.receiver_silent,
            "receiver hangs up": servers.receiver_hangs_up,
            "receiver trickles": servers.receiver_trickles,
            "large transaction": servers.large,
            "content edits": servers.edits,
        }
        assert self._deeds.keys() == BY_NAME.keys()

    def strike(self, fault: Fault) -> str:
        """Do it, hold it, end it; returns what is worth a note. Raises Skipped, and Fatal if a server is dead."""
        lock = self._locks[fault.target]
        if not lock.acquire(timeout=_LOCK_WITHIN_S):
            raise Skipped("another fault had not ended")
        try:
            return self._deeds[fault.kind](fault)
        finally:
            lock.release()

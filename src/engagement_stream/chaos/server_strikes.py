"""What is done to the servers and to the network in front of them."""

import contextlib
import http.client
import random
import signal
import threading
import time
from collections.abc import Callable

import psutil
import psycopg
import redis

from engagement_stream.chaos.plan import Fault
from engagement_stream.chaos.source_faults import edit_contents, large_transaction
from engagement_stream.chaos.stage_strikes import Skipped
from engagement_stream.chaos.world import ChaosWorld
from engagement_stream.settings import Settings
from engagement_stream.stack.receiver.faults import FailAfterWrite, HoldAnswer, Reject, SlowAnswer
from engagement_stream.stack.receiver.faults import Fault as ReceiverFault

_DONE_WITHIN_S = 20.0
_LONGER_THAN_THE_SINK_WAITS_S = 12.0
_NOT_NOW = (OSError, psycopg.Error, redis.RedisError, http.client.HTTPException, ValueError)
_END_WALSENDER = """
select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = %s and active_pid is not null
"""


class ServerStrikes:
    """Each method returns when its fault is over; ends early, and heals, when `stop` is set."""

    def __init__(self, world: ChaosWorld, settings: Settings, stop: threading.Event, seed: int) -> None:
        self._world, self._stop = world, stop
        self._url = settings.postgres.database_url.get_secret_value()
        self._slot = settings.postgres.slot
        self._redis_url = settings.redis.url.get_secret_value()
        self._rng = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def killed(self, fault: Fault) -> str:
        self._world.servers[fault.target].kill()
        self._stop.wait(fault.hold_s)
        self._world.start_again(fault.target)
        return ""

    def restarted(self, fault: Fault) -> str:
        self._world.servers[fault.target].stop()
        self._stop.wait(fault.hold_s)
        self._world.start_again(fault.target)
        return ""

    def frozen(self, fault: Fault) -> str:
        family = _family(self._world.servers[fault.target].pid)
        _signal_all(family, signal.SIGSTOP)
        try:
            self._stop.wait(fault.hold_s)
        finally:
            _signal_all(family, signal.SIGCONT)
        return ""

    def reset(self, fault: Fault) -> str:
        for proxy in self._world.proxies[fault.target]:
            proxy.cut()
        return ""

    def black_hole(self, fault: Fault) -> str:
        for proxy in self._world.proxies[fault.target]:
            proxy.blackhole()
        return self._heal_later(fault)

    def late(self, fault: Fault) -> str:
        for proxy in self._world.proxies[fault.target]:
            proxy.hold()
        self._stop.wait(fault.hold_s)
        return self._release(fault)

    def slow(self, fault: Fault) -> str:
        for proxy in self._world.proxies[fault.target]:
            proxy.slow(
                delay_s=float(fault.parameters["delay_ms"]) / 1000,
                bytes_per_s=float(fault.parameters["kb_per_s"]) * 1000,
            )
        self._stop.wait(fault.hold_s)
        return self._release(fault)

    def cut(self, fault: Fault) -> str:
        for proxy in self._world.proxies[fault.target]:
            proxy.cut_answers(int(fault.parameters["after_bytes"]))
        return self._heal_later(fault)

    def swallow(self, fault: Fault) -> str:
        for proxy in self._world.proxies[fault.target]:
            proxy.drop_answers()
        return self._heal_later(fault)

    def refuse(self, fault: Fault) -> str:
        for proxy in self._world.proxies[fault.target]:
            proxy.refuse()
        return self._heal_later(fault)

    def flush_all(self, _fault: Fault) -> str:
        self._eventually(lambda: self._valkey(lambda client: client.flushall()))
        return ""

    def flush_scripts(self, _fault: Fault) -> str:
        self._eventually(lambda: self._valkey(lambda client: client.script_flush()))
        return ""

    def end_walsender(self, _fault: Fault) -> str:
        def end() -> None:
            with psycopg.connect(self._url, autocommit=True) as connection:
                if connection.execute(_END_WALSENDER, (self._slot,)).fetchone() is None:
                    raise ConnectionError("nobody reads the slot")

        self._eventually(end)
        return ""

    def receiver_refuses(self, fault: Fault) -> str:
        return self._receiver_for(fault, Reject(times=0, status=int(fault.parameters["status"])))

    def receiver_limits(self, fault: Fault) -> str:
        after = str(fault.parameters["retry_after_s"])
        return self._receiver_for(fault, Reject(times=0, status=429, retry_after=after))

    def receiver_silent(self, _fault: Fault) -> str:
        return self._receiver_once(HoldAnswer(seconds=_LONGER_THAN_THE_SINK_WAITS_S))

    def receiver_hangs_up(self, fault: Fault) -> str:
        return self._receiver_once(FailAfterWrite(times=int(fault.parameters["times"])))

    def receiver_trickles(self, fault: Fault) -> str:
        return self._receiver_once(SlowAnswer(times=int(fault.parameters["times"]), seconds_per_byte=0.05))

    def large(self, fault: Fault) -> str:
        self._eventually(lambda: large_transaction(self._url, int(fault.parameters["events"]), self._rng))
        return ""

    def edits(self, fault: Fault) -> str:
        self._eventually(lambda: edit_contents(self._url, int(fault.parameters["edits"]), self._rng))
        return ""

    def heal_everything(self) -> None:
        """Whatever was left broken, by a fault that was interrupted say."""
        for proxies in self._world.proxies.values():
            for proxy in proxies:
                if not proxy.whole:
                    proxy.heal()
        for name, server in self._world.servers.items():
            _signal_all(_family(server.pid), signal.SIGCONT)
            if not server.running:
                self._world.start_again(name)
        self._eventually(self._world.receiver.behave)

    def _heal_later(self, fault: Fault) -> str:
        self._stop.wait(fault.hold_s)
        for proxy in self._world.proxies[fault.target]:
            proxy.heal()
        return ""

    def _release(self, fault: Fault) -> str:
        for proxy in self._world.proxies[fault.target]:
            proxy.release()
        return ""

    def _receiver_for(self, fault: Fault, what: ReceiverFault) -> str:
        receiver = self._world.receiver
        self._eventually(lambda: receiver.fail(what))
        self._stop.wait(fault.hold_s)
        self._eventually(receiver.behave)
        return ""

    def _receiver_once(self, what: ReceiverFault) -> str:
        """Until so many requests have met it."""
        receiver = self._world.receiver
        self._eventually(lambda: receiver.fail(what))
        deadline_s = time.monotonic() + _DONE_WITHIN_S
        waiting = True
        while waiting and time.monotonic() < deadline_s and not self._stop.wait(0.1):
            with contextlib.suppress(*_NOT_NOW):
                waiting = bool(receiver.waiting_faults())
        if waiting:
            self._eventually(receiver.behave)
            return "not every request came"
        return ""

    def _valkey(self, call: Callable[["redis.Redis"], object]) -> None:
        with redis.Redis.from_url(self._redis_url, socket_timeout=10.0) as client:
            call(client)

    def _eventually(self, call: Callable[[], None]) -> None:
        """A server that is just being restarted is waited for. Raises Skipped."""
        deadline_s = time.monotonic() + _DONE_WITHIN_S
        while True:
            try:
                return call()
            except _NOT_NOW as error:
                if time.monotonic() > deadline_s or self._stop.wait(0.2):
                    raise Skipped(f"{type(error).__name__}: {error}") from error


def _family(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        return []
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _signal_all(family: list[psutil.Process], number: int) -> None:
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)

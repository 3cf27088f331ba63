"""One chaos run: a world, load, the plan's faults, then quiet, and the ledger's answer."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from engagement_stream.chaos.crew import Crew
from engagement_stream.chaos.kinds import STAGES
from engagement_stream.chaos.plan import Fault, Plan
from engagement_stream.chaos.positions import Looker
from engagement_stream.chaos.recovery import Mark, Watch
from engagement_stream.chaos.result import Result, Struck
from engagement_stream.chaos.stage_strikes import Skipped
from engagement_stream.chaos.strikes import Strikes
from engagement_stream.chaos.versions import versions
from engagement_stream.chaos.world import ChaosWorld, Interrupted, started_world
from engagement_stream.errors import ConfigurationError, EngagementError
from engagement_stream.generate import historical
from engagement_stream.stack.part import Report as Preparation
from engagement_stream.stack.part import silent
from engagement_stream.verify.report import Report as Ledger
from engagement_stream.verify.run import verify

_HISTORY_ROWS = 3_000
"""There before the first start, so that the first copy has something to copy."""
_EDITS_PER_MIN = 60.0
_PATIENCE_S = {"standard": 45.0, "smoke": 3.0}
"""How long the next fault waits for the former one's recovery before it strikes all the same."""
_READY_WITHIN_S = 180.0
_DRAIN_WITHIN_S = 420.0
_STRAYS_WITHIN_S = 90.0
_TICK_S = 0.1
_LOOK_AT_HEALTH_EVERY_S = 2.0
_LEDGER_TRIES = 3

Tell = Callable[[str], None]
Progress = Callable[[float, int], None]
"""(seconds since the load began, faults struck)."""


class ChaosRun:
    """Use `run` once. Whatever happens in it, nothing it started is left."""

    def __init__(self, plan: Plan, rate_per_s: float, directory: Path, stop: threading.Event, tell: Tell) -> None:
        self._plan, self._rate_per_s, self._stop, self._tell = plan, rate_per_s, stop, tell
        self._directory = directory
        self._struck: list[Struck] = []
        self._marks: list[tuple[int, Mark]] = []
        self._busy: dict[int, tuple[Fault, float]] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._wrong: list[str] = []
        self._remarks: list[str] = []
        self._over = threading.Event()
        """The faults are over: holds end early."""

    def run(self, preparation: Preparation = silent, progress: Progress = lambda _s, _n: None) -> Result:
        """Raises Interrupted, and EngagementError when the world could not be made."""
        began_s = time.monotonic()
        world = started_world(self._directory, preparation)
        crew: Crew | None = None
        watch: Watch | None = None
        try:
            historical(world.postgres.database_url, 1, total_rows=_HISTORY_ROWS, seed=self._plan.seed)
            crew = Crew(world.environment(), self._directory, self._log)
            crew.start(self._plan.first_crash)
            watch = Watch(Looker(world.settings()))
            watch.start()
            crew.generate(self._rate_per_s, self._plan.seed, _EDITS_PER_MIN, world.postgres.database_url)
            self._wait_until_ready(crew, watch)
            strikes = Strikes(world, crew, self._over, self._plan.seed)
            self._strike_all(strikes, crew, watch, progress)
            ledger = self._settle(world, crew, watch, strikes)
            return Result(
                self._plan,
                self._rate_per_s,
                self._finished(),
                dict(strikes.stages.kills),
                _events(world),
                time.monotonic() - began_s,
                ledger,
                tuple(self._wrong),
                tuple(self._remarks),
                versions(),
            )
        finally:
            self._over.set()
            for thread in self._threads:  # or one of them would start a server that nobody stops
                thread.join()
            if watch is not None:
                watch.stop()
            if crew is not None:
                crew.stop()
            world.stop()

    def _wait_until_ready(self, crew: Crew, watch: Watch) -> None:
        """What is committed by then is durable behind every stage: everything flows."""
        self._await(crew.flowing, _READY_WITHIN_S)
        mark = watch.mark(STAGES)
        if not self._await(mark.over.is_set, _READY_WITHIN_S):
            raise ConfigurationError(
                f"{', '.join(mark.waits_for)} did not run after {_READY_WITHIN_S:.0f} s: the machine is too busy, or "
                f"something is wrong; see the logs in {self._directory}/logs"
            )

    def _strike_all(self, strikes: Strikes, crew: Crew, watch: Watch, progress: Progress) -> None:
        """Each fault not before its time, nor before the stages that feel it have got over the one before."""
        self._load_began_s = time.monotonic()
        pending = list(self._plan.faults)
        give_up_s = 2 * self._plan.duration_s + 120
        looked_s = 0.0
        while (now_s := self._now_s()) < self._plan.duration_s or pending or self._busy:
            if self._stop.wait(_TICK_S):
                raise Interrupted
            blocked: set[str] = set()
            for fault in list(pending):
                felt = set(fault.felt_by) if self._plan.profile == "standard" else {fault.target}
                if fault.at_s > now_s:
                    break
                if fault.overlapping or not felt & (self._busy_stages(now_s) | blocked):
                    pending.remove(fault)
                    self._begin(fault, strikes, watch)
                blocked |= felt
            if now_s - looked_s >= _LOOK_AT_HEALTH_EVERY_S:
                looked_s = now_s
                progress(now_s, len(self._struck))
                if self._halted(crew):
                    break
            if pending and now_s > give_up_s:
                self._remarks.append(f"{len(pending)} planned faults were left out: recoveries took too long.")
                break
        self._over.set()

    def _begin(self, fault: Fault, strikes: Strikes, watch: Watch) -> None:
        with self._lock:
            number = len(self._struck)
            now_s = self._now_s()
            self._struck.append(Struck(fault, now_s, now_s))
            self._busy[number] = (fault, float("inf"))
        thread = threading.Thread(target=self._strike, args=(number, strikes, watch), name=f"fault-{number}")
        self._threads.append(thread)
        thread.start()

    def _strike(self, number: int, strikes: Strikes, watch: Watch) -> None:
        fault, began_s = self._struck[number].fault, self._struck[number].began_s
        note = skipped = ""
        try:
            note = strikes.strike(fault)
        except Skipped as reason:
            skipped = str(reason)
        except EngagementError as error:
            self._wrong.append(f"{fault}: {error}")
        with self._lock:
            ended_s = self._now_s()
            self._struck[number] = Struck(fault, began_s, ended_s, note=note, skipped=skipped)
            if skipped:
                del self._busy[number]
                self._tell(f"{began_s:7.1f} s  {fault}: skipped, {skipped}")
                return
            mark = watch.mark(fault.felt_by)
            self._marks.append((number, mark))
            until_s = ended_s + _PATIENCE_S[self._plan.profile]
            self._busy[number] = (fault, until_s)
        while not mark.over.wait(_TICK_S) and not self._over.is_set() and self._now_s() < until_s:
            pass
        with self._lock:
            del self._busy[number]
        took_s = mark.took_s()
        told = "not recovered yet" if took_s is None else f"recovered after {took_s:.1f} s"
        self._tell(f"{began_s:7.1f} s  {fault}: {told}{', ' + note if note else ''}")

    def _busy_stages(self, now_s: float) -> set[str]:
        standard = self._plan.profile == "standard"
        with self._lock:
            return {
                stage
                for fault, until_s in self._busy.values()
                if now_s < until_s
                for stage in (fault.felt_by if standard else (fault.target,))
            }

    def _halted(self, crew: Crew) -> bool:
        for name, report in crew.statuses().items():
            if report.state == "halted":
                self._wrong.append(f"{name} halted: {report.reason} (remedy: {report.remedy})")
        return bool(self._wrong)

    def _settle(self, world: ChaosWorld, crew: Crew, watch: Watch, strikes: Strikes) -> Ledger | None:
        """No more load, no more faults; wait until everything has arrived, then ask the ledger."""
        self._tell("the load stops; draining ...")
        strikes.servers.heal_everything()
        crew.stop_generating()
        for stage in STAGES:
            crew.scale(stage, 1)
        self._wrong += crew.end_strays(_STRAYS_WITHIN_S)
        mark = watch.mark(STAGES)
        self._await(mark.over.is_set, _DRAIN_WITHIN_S)
        self._wrong += [f"{stage} did not drain within {_DRAIN_WITHIN_S:.0f} s" for stage in mark.waits_for]
        self._halted(crew)
        if ends := crew.unexpected_ends():
            told = ", ".join(f"{name} {count} times" for name, count in ends.items())
            self._wrong.append(f"ended by something nobody had thought of (see the logs): {told}")
        self._tell("verifying ...")
        ledger = None
        for _ in range(_LEDGER_TRIES):
            ledger = verify(world.settings(), self._directory)
            if not any(place.in_flight for place in ledger.places):
                break
            if self._stop.wait(5.0):
                raise Interrupted
        seen = world.receiver.stats(thorough=True)
        if seen.differing_requests or seen.differing_events or seen.disorder:
            self._wrong.append(
                f"the receiver saw {seen.differing_requests} keys and {seen.differing_events} events again with "
                f"another body, and {seen.disorder} events out of their content's order"
            )
        self._remarks.append(f"The receiver was sent {seen.received:,} events, {seen.events:,} distinct ones.")
        return ledger

    def _finished(self) -> list[Struck]:
        for number, mark in self._marks:
            struck = self._struck[number]
            self._struck[number] = Struck(
                struck.fault, struck.began_s, struck.ended_s, mark.took_s(), struck.note, struck.skipped
            )
        return list(self._struck)

    def _await(self, condition: Callable[[], bool], within_s: float) -> bool:
        deadline_s = time.monotonic() + within_s
        while not (true := condition()) and time.monotonic() < deadline_s:
            if self._stop.wait(_TICK_S):
                raise Interrupted
        return true

    def _now_s(self) -> float:
        return time.monotonic() - self._load_began_s

    def _log(self, sentence: str) -> None:
        with (self._directory / "logs" / "supervisor.log").open("a") as log:
            print(f"{time.strftime('%H:%M:%S')} {sentence}", file=log)


def _events(world: ChaosWorld) -> int:
    with psycopg.connect(world.postgres.database_url) as connection:
        row = connection.execute("select count(*) from engagement_events").fetchone()
    return int(row[0]) if row is not None else 0

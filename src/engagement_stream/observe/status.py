"""The state of one stage, as /health shows it: what it does, what it waits for, what a person can do.

Health is progress, so the status holds positions and the time of the last progress, not "the process is up".
"""

import threading
import time
from typing import Literal

import msgspec

from engagement_stream.observe.canaries import Canaries, CanaryReport
from engagement_stream.observe.log import log
from engagement_stream.observe.metrics import COMMIT_TO_DURABLE, DEAD_LETTERS, RETRIES, counted

State = Literal["starting", "running", "waiting", "degraded", "halted", "stopping"]


class StatusReport(msgspec.Struct, frozen=True):
    """What `/status` of a stage answers (JSON). Times are seconds since 1970."""

    stage: str
    worker: int
    state: State
    reason: str
    remedy: str
    since: float
    last_progress: float | None
    records: int
    """Records handled since the process started."""
    details: dict[str, str | int | float | bool | None]
    told: float | None = None
    """When the stage last said anything, changed or not: its loop turns. One that hangs in a call says nothing."""
    told_s_ago: float | None = None
    """The same as an age, by the stage's own monotonic clock."""
    canary: CanaryReport | None = None
    latency: list[int] = []
    """Live events by commit-to-durable time: a count for each of observe.latency.BUCKETS_S, and one beyond."""
    dead_letters: int = 0
    retries: int = 0


decode_report = msgspec.json.Decoder(StatusReport).decode
encode_report = msgspec.json.Encoder().encode


class StageStatus:
    """Thread-safe; one per stage process. A change of state is logged once, its repetition is not."""

    def __init__(self, stage: str, worker: int = 0) -> None:
        self.stage = stage
        self.worker = worker
        self.canaries = Canaries(stage)
        self._lock = threading.Lock()
        self._state: State = "starting"
        self._reason = ""
        self._remedy = ""
        self._since = time.time()
        self._last_progress: float | None = None
        self._records = 0
        self._details: dict[str, str | int | float | bool | None] = {}
        self._told = self._since
        self._told_s = time.monotonic()
        self._replays: StageStatus | None = None
        self._logged: dict[str, str] = {}

    def of_replays(self) -> "StageStatus":
        """The status of what brings dead letters back to this stage. While that is in trouble, this one says so."""
        self._replays = StageStatus(f"{self.stage}-retry", self.worker)
        self._replays._logged = {"of": "replays"}  # noqa: SLF001 - one of ours; the process logs as its stage
        return self._replays

    def running(self) -> None:
        """All is well."""
        self._enter("running", "", "")

    def waiting(self, reason: str) -> None:
        """The outside is not ready; the stage keeps trying."""
        self._enter("waiting", reason, "")

    def degraded(self, reason: str, remedy: str) -> None:
        """It goes on, and a person has to look at something that it found."""
        self._enter("degraded", reason, remedy)

    def halted(self, reason: str, remedy: str) -> None:
        """Going on would lose or double something; a person is needed."""
        self._enter("halted", reason, remedy)

    def stopping(self) -> None:
        """Draining before the end of the process."""
        self._enter("stopping", "", "")

    def progress(self, records: int) -> None:
        """`records` more are durable."""
        with self._lock:
            self._records += records
            self._tell()
            self._last_progress = self._told

    def detail(self, **details: str | float | bool | None) -> None:
        """Facts of this stage: positions, lag, phase."""
        with self._lock:
            self._details.update(details)
            self._tell()

    def report(self) -> StatusReport:
        """A consistent copy."""
        beside = self._replays.report() if self._replays is not None else None
        with self._lock:
            own = StatusReport(
                stage=self.stage,
                worker=self.worker,
                state=self._state,
                reason=self._reason,
                remedy=self._remedy,
                since=self._since,
                last_progress=self._last_progress,
                records=self._records,
                details=dict(self._details),
                told=self._told,
                told_s_ago=time.monotonic() - self._told_s,
                canary=self.canaries.report(),
                latency=COMMIT_TO_DURABLE.counts(self.stage),
                dead_letters=counted(DEAD_LETTERS),
                retries=counted(RETRIES),
            )
        return own if beside is None else _with_replays(own, beside)

    def _tell(self) -> None:
        self._told, self._told_s = time.time(), time.monotonic()

    def _enter(self, state: State, reason: str, remedy: str) -> None:
        with self._lock:
            self._tell()
            changed = state != self._state
            if changed:
                self._since = self._told
            elif (reason, remedy) == (self._reason, self._remedy):
                return
            self._state, self._reason, self._remedy = state, reason, remedy
        if changed:
            tell = {"halted": log().error, "degraded": log().error, "waiting": log().warning}.get(state, log().info)
            tell(
                "state changed",
                state=state,
                **self._logged,
                **({"reason": reason} if reason else {}),
                **({"remedy": remedy} if remedy else {}),
            )


def _with_replays(own: StatusReport, beside: StatusReport) -> StatusReport:
    """What is wrong with the replays is what is wrong with the stage, unless that has troubles of its own. Pure."""
    details = own.details | {"lag_replays": beside.details.get("lag_records")}
    if own.state != "running" or beside.state not in {"waiting", "halted"}:
        return msgspec.structs.replace(own, details=details)
    return msgspec.structs.replace(
        own,
        state=beside.state,
        reason=f"replays of dead letters: {beside.reason}",
        remedy=beside.remedy,
        since=beside.since,
        details=details,
    )

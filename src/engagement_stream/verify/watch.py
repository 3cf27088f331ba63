"""`verify --watch`: the first round looks at everything, each later one only at what came since.

What was found stays found: the state is `degraded` until the process is started again, since a round that looks at
news alone cannot tell that an old row was mended.
"""

import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from engagement_stream.observe.log import log
from engagement_stream.observe.status import StageStatus
from engagement_stream.settings import Settings
from engagement_stream.verify import metrics
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.report import KINDS, Report
from engagement_stream.verify.round import Round
from engagement_stream.verify.state import State

NAME = "verify"
REMEDY = (
    "Run `engagement verify` for all findings, and mend what they name; then start this process again: its first round "
    "looks at everything."
)
_AGAIN_S = 5.0
_BLIND_ROUNDS = 3
"""A server that is away for a moment is the business of the stages that need it."""
_NICENESS = 10

Say = Callable[[str], None]


class _StoppedError(Exception):
    """In the middle of a round."""


class Watch:
    """Rounds until `stop` is set. It never ends by itself: a finding is told, and the pipeline goes on."""

    def __init__(
        self,
        settings: Settings,
        data_dir: Path,
        status: StageStatus,
        say: Say,
        *,
        every_s: float,
        since: datetime | None = None,
    ) -> None:
        self._settings, self._data_dir, self._status, self._say = settings, data_dir, status, say
        self._every_s, self._since = every_s, since
        self._found: dict[tuple[str, str], int] = {}
        self._blind = 0
        self._last_line = ""

    def run(self, stop: threading.Event) -> None:
        """Raises nothing that a round met: what cannot be read is looked at again."""
        self._status.running()
        with Ledger() as ledger:
            state = State(ledger)
            while not stop.is_set():
                try:
                    report = self.round(state, stop)
                except _StoppedError:
                    break
                stop.wait(min(self._every_s, _AGAIN_S) if report.unreadable else self._every_s)
        self._status.stopping()

    def round(self, state: State, stop: threading.Event | None = None) -> Report:
        """One round, told to everybody; broken off when `stop` is set."""

        def tell(_place: str, _rows: int) -> None:
            if stop is not None and stop.is_set():
                raise _StoppedError

        this = Round(self._settings, self._data_dir, state, since=self._since, tell=tell)
        report = this.run()
        metrics.count(report)
        this.settle()
        self._tell(report)
        return report

    def _tell(self, report: Report) -> None:
        for place in report.places:
            for kind in KINDS:
                if count := getattr(place, kind):
                    at = (place.name, kind)
                    self._found[at] = self._found.get(at, 0) + count
        for finding in report.findings:
            log().error("not as it should be", place=finding.place, kind=finding.kind, id=finding.id)
        self._blind = self._blind + 1 if report.unreadable else 0
        self._status.progress(sum(place.rows for place in report.places))
        self._status.detail(
            round_s=round(report.seconds, 3),
            in_flight=sum(place.in_flight for place in report.places),
            last_round=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if self._found:
            self._status.degraded(f"found so far: {summary(self._found)}", REMEDY)
        elif self._blind >= _BLIND_ROUNDS:
            lost = report.unreadable[0]
            self._status.waiting(f"{lost.place} cannot be read: {lost.reason}")
        elif not report.unreadable:
            self._status.running()
        self._say_line(report)

    def _say_line(self, report: Report) -> None:
        rows = sum(place.rows for place in report.places)
        verdict = summary(self._found) if self._found else "everything is right"
        lost = "".join(f"; {place.place} cannot be read" for place in report.unreadable)
        line = f"{verdict}{lost}"
        if rows or line != self._last_line:
            self._say(f"{datetime.now(UTC):%H:%M:%S} {rows:,} rows in {report.seconds:.1f} s: {line}")
        for finding in report.findings:
            self._say(f"  {finding.kind.replace('_', ' ')}: {finding.place}: {finding.id} {finding.detail}")
        self._last_line = line


def summary(found: dict[tuple[str, str], int]) -> str:
    """`2 missing in bigquery, 1 doubled in receiver`. Pure."""
    return ", ".join(f"{count:,} {kind.replace('_', ' ')} in {place}" for (place, kind), count in sorted(found.items()))


def run_watch(settings: Settings, data_dir: Path, say: Say, *, every_s: float, since: datetime | None = None) -> None:
    """As a process: until SIGTERM or SIGINT, with a status server as a stage has it, and behind everybody else."""
    from engagement_stream.observe.server import serve_status

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.nice(_NICENESS)
    status = StageStatus(NAME)
    serve_status(status, settings.stage.status_host, settings.stage.status_port)
    Watch(settings, data_dir, status, say, every_s=every_s, since=since).run(stop)

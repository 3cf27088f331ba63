"""All checks at the same time: a server that is away costs the others nothing, and no answer is an answer too."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from engagement_stream.doctor.examination import Examination, Examined, Report, report_of
from engagement_stream.settings import Settings

_GIVE_UP_S = 45.0


def examine(settings: Settings, data_dir: Path) -> Report:
    """In the order of the flow. Never raises."""
    from engagement_stream.doctor import bigquery, kafka, machine, postgres, receiver, redis, slot, stages

    checks: dict[str, Callable[[], Examination]] = {
        "postgresql": lambda: postgres.check(settings),
        "slot": lambda: slot.check(settings),
        "kafka": lambda: kafka.check(settings),
        "redis": lambda: redis.check(settings),
        "bigquery": lambda: bigquery.check(settings),
        "receiver": lambda: receiver.check(settings),
        "disk": lambda: machine.check(data_dir),
        "stages": lambda: stages.check(settings),
    }
    running = [_Running(name, check) for name, check in checks.items()]
    deadline_s = time.monotonic() + _GIVE_UP_S
    return report_of([one.outcome(deadline_s) for one in running])


class _Running:
    """One check in a thread of its own; left behind when it hangs, since it holds nothing that matters."""

    def __init__(self, name: str, check: Callable[[], Examination]) -> None:
        self._name, self._check = name, check
        self._began_s = time.monotonic()
        self._found: Examined | None = None
        self._thread = threading.Thread(target=self._work, name=f"doctor-{name}", daemon=True)
        self._thread.start()

    def outcome(self, deadline_s: float) -> Examined:
        self._thread.join(max(deadline_s - time.monotonic(), 0.1))
        if self._found is not None:
            return self._found
        of = Examination()
        of.error(
            f"no answer within {_GIVE_UP_S:.0f} s", "see whether the server hangs, or the network swallows packets"
        )
        return self._examined(of)

    def _work(self) -> None:
        try:
            of = self._check()
        except Exception as error:  # noqa: BLE001 - a check that fails must not hide what the others found
            of = Examination()
            of.error(f"this check itself failed: {type(error).__name__}: {error}", "please report it")
        self._found = self._examined(of)

    def _examined(self, of: Examination) -> Examined:
        return Examined(self._name, ", ".join(of.seen), of.findings, round(time.monotonic() - self._began_s, 2))

"""What a check leaves behind: what it saw, and findings. A finding is no failure: a server that is down is one too."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Severity = Literal["error", "warning", "note"]
"""error: something does not work, or will be lost. warning: it works, and a promise is weaker. note: good to know."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be; `mend` is a command, or what to change where no command can."""

    severity: Severity
    what: str
    mend: str


class Examined(msgspec.Struct, frozen=True):
    """One check, done."""

    name: str
    saw: str
    findings: Sequence[Finding]
    seconds: float


class Report(msgspec.Struct, frozen=True):
    """All of them; exit code 1 when there is an error among the findings."""

    checks: Sequence[Examined]
    errors: int
    warnings: int
    exit_code: int


@dataclass(slots=True)
class Examination:
    """A check writes into this."""

    seen: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def saw(self, what: str) -> None:
        """A fact in a few words, shown also where all is well."""
        self.seen.append(what)

    def error(self, what: str, mend: str) -> None:
        self.findings.append(Finding("error", what, mend))

    def warning(self, what: str, mend: str) -> None:
        self.findings.append(Finding("warning", what, mend))

    def note(self, what: str, mend: str) -> None:
        self.findings.append(Finding("note", what, mend))


def report_of(checks: Sequence[Examined]) -> Report:
    """Counts and the exit code."""
    counts = {"error": 0, "warning": 0, "note": 0}
    for finding in (finding for check in checks for finding in check.findings):
        counts[finding.severity] += 1
    return Report(checks, counts["error"], counts["warning"], 1 if counts["error"] else 0)

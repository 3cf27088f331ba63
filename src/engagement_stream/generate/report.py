"""What the generator tells about itself."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """How far a run is; `rows` are committed."""

    rows: int = 0
    total_rows: int | None = None
    """None: it has no end."""
    elapsed_s: float = 0.0
    behind_s: float = 0.0
    """continuous: the age of the oldest event that should have been written by now."""
    content_changes: int = 0
    waiting_for: str = ""
    """Why the database cannot be reached just now; empty while all is well."""

    @property
    def rate_per_s(self) -> float:
        """Rows per second since the start."""
        return self.rows / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def __str__(self) -> str:
        total = "" if self.total_rows is None or self.total_rows == self.rows else f" of {self.total_rows:,}"
        changes = f", {self.content_changes:,} content changes" if self.content_changes else ""
        behind = f", {self.behind_s:.1f} s behind schedule" if self.behind_s >= 1 else ""
        waiting = f"; waiting: {self.waiting_for}" if self.waiting_for else ""
        pace = f"{self.rate_per_s:,.0f}/s" if self.rate_per_s >= 10 else f"{self.rate_per_s:.1f}/s"
        return f"{self.rows:,}{total} events written in {self.elapsed_s:.1f} s ({pace}){changes}{behind}{waiting}"


Progress = Callable[[Report], None]


def quiet(_report: Report) -> None:
    """Tell nobody."""

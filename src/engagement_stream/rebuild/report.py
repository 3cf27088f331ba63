"""What a rebuild tells about itself."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is. `rows` of about `estimated_rows` were counted; 0 of 0 in steps that count none."""

    step: str
    rows: int = 0
    estimated_rows: int = 0
    elapsed_s: float = 0.0
    """Since the counting began."""

    @property
    def rate_per_s(self) -> float:
        return self.rows / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """None while it cannot be told."""
        if not self.rows or not self.rate_per_s:
            return None
        return max(self.estimated_rows - self.rows, 0) / self.rate_per_s


Tell = Callable[[Progress], None]


@dataclass(slots=True)
class Report:
    """What was done, or, of a dry run, what would be."""

    dry_run: bool = False
    events: int = 0
    contents: int = 0
    redis_events: int = 0
    """What Redis held before."""
    left_out: int = 0
    """Events in the dead-letter queue."""
    refused: int = 0
    """Events that cannot be stored and would be dead-lettered: times outside of the years 1 to 9999."""
    future: int = 0
    partitions: int = 0
    forgotten_keys: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

"""What every contender can do, and what one measured run of it gave."""

from dataclasses import dataclass
from typing import Protocol


class Contender(Protocol):
    """One program with one task. `prepare` once before the rows are written, then one `run` over the backlog."""

    @property
    def name(self) -> str: ...

    def prepare(self) -> None:
        """Whatever has to be there before the backlog is (a slot, topics)."""

    def start(self) -> None:
        """Begin to work on the backlog."""

    def progress(self) -> int:
        """How far it is, in records that are durable for others to see."""

    def pids(self) -> list[int]:
        """Its own processes, servers not among them."""

    def stop(self) -> None:
        """End it and leave nothing behind."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One run: rate between a tenth and nine tenths of the backlog, CPU over the same span."""

    name: str
    records_per_s: float
    cpu_us: float
    """Of its own processes, per record."""
    broker_cpu_us: float
    rss_mb: float

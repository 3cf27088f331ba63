"""What a run tells while it runs, and what it reports at its end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from engagement_stream.backfill.plan import Day

State = Literal["complete", "waiting", "reading", "inserting", "done"]
EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for a person."""

    text: str


@dataclass(frozen=True, slots=True)
class Planned:
    """The days as they are found; those that are complete are passed over."""

    days: list[Day]
    rows: int
    """To be read."""


@dataclass(frozen=True, slots=True)
class DayState:
    """Where a day stands."""

    day: date
    state: State


@dataclass(frozen=True, slots=True)
class Read:
    """So many rows more were read and staged."""

    rows: int


Event = Note | Planned | DayState | Read
Tell = Callable[[Event], None]


@dataclass(slots=True)
class Report:
    """What became of it."""

    days: int = 0
    complete_before: int = 0
    read: int = 0
    inserted: int = 0
    left_out: dict[str, list[int]] = field(default_factory=dict)
    """Reason -> the first ids; how many in all stands in `left_out_rows`."""
    left_out_rows: dict[str, int] = field(default_factory=dict)
    by_event_time: int = 0
    """Rows whose content was chosen by event_ts: the server does not know when they were committed."""
    bytes_processed: int = 0
    slot_ms: int = 0
    statements: int = 0
    missing: list[Day] = field(default_factory=list)
    """Days that lack events of the snapshot at the end."""
    beyond: list[Day] = field(default_factory=list)
    """Days of which the target holds events that the source does not have any more."""
    rested_s: float = 0.0
    seconds: float = 0.0
    stopped: bool = False

    @property
    def unexplained(self) -> bool:
        """Whether events are missing that were not left out on purpose."""
        return sum(day.missing for day in self.missing) > sum(self.left_out_rows.values())

    def differences(self) -> list[str]:
        """A sentence for what is not the same on both sides at the end."""
        found = []
        if self.unexplained and not self.stopped:
            count, names = sum(day.missing for day in self.missing), ", ".join(str(day.day) for day in self.missing)
            found.append(f"{count:,} events are still missing ({names}): run it again, and `engagement verify`")
        if self.beyond:
            found.append(
                f"on {', '.join(str(day.day) for day in self.beyond)} BigQuery holds more events than PostgreSQL: such "
                "as were deleted there, or doubled (`engagement verify` tells)"
            )
        return found

    def leave_out(self, rows: list[tuple[int, str]]) -> None:
        """Count them, keep the first ids of each reason."""
        for event_id, reason in rows:
            self.left_out_rows[reason] = self.left_out_rows.get(reason, 0) + 1
            ids = self.left_out.setdefault(reason, [])
            if len(ids) < EXAMPLES:
                ids.append(event_id)

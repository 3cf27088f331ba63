"""How a backfill shows: a bar and a strip of days on a terminal, plain lines elsewhere."""

import time
from datetime import date
from threading import Lock
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from engagement_stream.backfill.progress import Event, State

_LINE_EVERY_S = 10.0
_STRIP = 60
_MARKS = {"waiting": "·", "reading": "▒", "inserting": "▓", "done": "█", "complete": "="}


class BackfillDisplay:
    """`tell` may be called from several threads."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = Lock()
        self._days: dict[date, State] = {}
        self._rows = self._total = 0
        self._began_s = self._told_s = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console, transient=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, event: "Event") -> None:
        from engagement_stream.backfill.progress import DayState, Note, Planned, Read

        with self._lock:
            match event:
                case Note(text):
                    self._console.print(text, markup=False, soft_wrap=True)
                case Planned(days, rows):
                    self._plan({day.day: "complete" if day.complete else "waiting" for day in days}, rows)
                case DayState(day, state):
                    if day in self._days:
                        self._days[day] = state
                        if state == "done" and not self._console.is_terminal:
                            self._console.print(f"{day} done; {self._line()}")
                case Read(rows):
                    if not self._rows:
                        self._began_s = time.monotonic()
                    self._rows += rows
            self._draw()

    def _plan(self, days: "dict[date, State]", rows: int) -> None:
        self._days, self._total = days, rows
        complete = sum(state == "complete" for state in days.values())
        self._console.print(f"{len(days)} days with events, {complete} complete; {rows:,} rows to read")
        if self._console.is_terminal and rows:
            self._bars.add_task("", total=rows)
            self._bars.start()

    def _draw(self) -> None:
        if self._bars.task_ids:
            self._bars.update(
                self._bars.task_ids[0], description=f"{self._strip()} {self._line()}", completed=self._rows
            )
        elif self._rows and time.monotonic() - self._told_s > _LINE_EVERY_S:
            self._told_s = time.monotonic()
            self._console.print(self._line())

    def _line(self) -> str:
        elapsed_s = max(time.monotonic() - self._began_s, 0.1)
        done = sum(state in {"done", "complete"} for state in self._days.values())
        return f"{self._rows:,} of {self._total:,} rows, {self._rows / elapsed_s:,.0f}/s, {done}/{len(self._days)} days"

    def _strip(self) -> str:
        """A mark a day; of many days each mark stands for several, and shows the one that is furthest behind."""
        order = list(_MARKS)
        states = [self._days[day] for day in sorted(self._days)]
        width = -(-len(states) // _STRIP) or 1
        groups = [states[at : at + width] for at in range(0, len(states), width)]
        return "".join(_MARKS[min(group, key=order.index)] for group in groups)

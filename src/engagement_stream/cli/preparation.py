"""The progress display of a first start: one line a server, a bar where there is something to count."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from engagement_stream.stack.part import Progress as Step
from engagement_stream.stack.part import Report


@contextmanager
def preparation_display(console: Console) -> Iterator[Report]:
    """A report function that may be called from several threads; plain lines where there is no terminal."""
    lock = threading.Lock()
    if not console.is_terminal:
        told: set[tuple[str, str]] = set()

        def tell(step: Step) -> None:
            with lock:
                if (step.part, step.step) not in told:
                    told.add((step.part, step.step))
                    console.print(f"{step.part}: {step.step}")

        yield tell
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(step: Step) -> None:
            with lock:
                if step.part not in tasks:
                    tasks[step.part] = bars.add_task(step.part, total=None)
                task = tasks[step.part]
                bars.update(
                    task, description=f"{step.part}: {step.step}", completed=step.done, total=step.total or None
                )

        yield draw

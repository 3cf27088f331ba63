"""What `engagement up` shows while the first start copies the events that were already in the database."""

import time
from collections.abc import Mapping
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_LINE_EVERY_S = 15.0


class CopyDisplay:
    """A bar on a terminal, now and then a line elsewhere; nothing at all where there is nothing to copy."""

    def __init__(self, console: Console, port: int) -> None:
        self._console, self._url = console, f"http://127.0.0.1:{port}/health"
        self._bars = Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True)
        self._task = self._bars.add_task("", total=None)
        self._rows = 0
        self._line_s = 0.0

    def look(self) -> bool:
        """Ask how it goes, and show it; false when there is no copy under way (any more)."""
        details = self._details()
        if details.get("phase") == "copying events":
            self._show(details, time.monotonic())
            return True
        self.close()
        if self._rows and details.get("phase") == "streaming":
            self._console.print(f"first copy: every event that was there is in Kafka (about {self._rows:,})")
        return False

    def close(self) -> None:
        self._bars.stop()

    def _show(self, details: Mapping[str, Any], now_s: float) -> None:
        self._rows = int(details.get("copied_rows") or 0)
        text = told(details)
        if self._console.is_terminal:
            self._bars.start()
            self._bars.update(self._task, description=text, completed=self._rows, total=details.get("estimated_rows"))
        elif now_s - self._line_s >= _LINE_EVERY_S:
            self._line_s = now_s
            self._console.print(text, soft_wrap=True)

    def _details(self) -> Mapping[str, Any]:
        try:
            stages = httpx.get(self._url, timeout=3.0).json().get("stages", {})
        except (httpx.HTTPError, ValueError):
            return {}
        details = stages.get("capture", {}).get("details", {})
        return details if isinstance(details, dict) else {}


def told(details: Mapping[str, Any]) -> str:
    """One line. Pure."""
    left_s = details.get("copy_left_s")
    left = "" if left_s is None else f", {int(left_s) // 60}:{int(left_s) % 60:02} left"
    return (
        f"first copy: {details.get('copied_rows') or 0:,} of about {details.get('estimated_rows') or 0:,} events "
        f"({details.get('copy_rows_per_s') or 0:,}/s{left}); live events flow meanwhile"
    )

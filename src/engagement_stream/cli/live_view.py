"""The live view of a running pipeline in the terminal: asks the API now and then, and draws."""

import threading
from collections.abc import Callable

import httpx
from pydantic import ValidationError
from rich.console import Console
from rich.live import Live

from engagement_stream.api.live.models import Snapshot
from engagement_stream.cli.view import nothing, view

EVERY_S = 2.0
"""Often enough to see it move; each look costs every process a question."""
_TIMEOUT_S = 5.0


def api_client(address: str, *, own: bool) -> httpx.Client:
    """`own`: on this machine, so that no proxy of the environment has a say."""
    return httpx.Client(base_url=address, timeout=_TIMEOUT_S, trust_env=not own)


def show_live(console: Console, client: httpx.Client, wait: Callable[[float], bool], *footer: str) -> None:
    """Draw until `wait(seconds)` is true. What is printed to the console meanwhile stands above the view."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            seen = look(client)
            if isinstance(seen, str):
                live.update(nothing(seen, "See the API's log; this view keeps trying."), refresh=True)
            else:
                live.update(view(seen, *footer), refresh=True)
            if wait(EVERY_S):
                return


def look(client: httpx.Client) -> Snapshot | str:
    """The present snapshot, or why there is none."""
    try:
        answer = client.get("/live/snapshot")
        answer.raise_for_status()
        return Snapshot.model_validate_json(answer.content)
    except httpx.HTTPStatusError as error:
        return f"the API at {client.base_url} answers {error.response.status_code} to /live/snapshot"
    except (httpx.HTTPError, httpx.InvalidURL):
        return f"the API at {client.base_url} does not answer"
    except ValidationError:
        return f"what answers at {client.base_url} is not an API of this version"


def watch_live(console: Console, port: int, watcher: threading.Thread) -> None:
    """For `engagement up`: the view while the supervisor's thread lives; without a terminal just wait for it."""
    if not console.is_terminal:
        while watcher.is_alive():
            watcher.join(1.0)
        return

    def ended(seconds: float) -> bool:
        watcher.join(seconds)
        return not watcher.is_alive()

    with api_client(f"http://127.0.0.1:{port}", own=True) as client:
        show_live(console, client, ended, "Ctrl-C drains and stops everything.")

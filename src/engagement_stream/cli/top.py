"""`engagement top`: a running pipeline live in the terminal; `engagement up` shows the same."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engagement_stream.cli.options import DEFAULT_DATA_DIR, DataDir
from engagement_stream.cli.stream import stop_signal
from engagement_stream.errors import ConfigurationError
from engagement_stream.pipeline.lock import running

_BETWEEN_LOOKS_S = 1.2
"""A rate needs two snapshots, and one is kept for a second."""


def top(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    url: Annotated[
        str, typer.Option("--url", help="Base URL of an API elsewhere, instead of the pipeline of --data-dir.")
    ] = "",
) -> None:
    """Show a running pipeline live until Ctrl-C; without a terminal, one plain line and the end."""
    from engagement_stream.cli.live_view import api_client, look, show_live
    from engagement_stream.cli.view import line

    address = url.rstrip("/") or api_address(data_dir)
    console = Console(highlight=False)
    with api_client(address, own=not url) as client:
        if console.is_terminal:
            footer = f"{address}/ in a browser; Ctrl-C ends this view, not the pipeline"
            show_live(console, client, stop_signal().wait, footer)
            return
        look(client)
        time.sleep(_BETWEEN_LOOKS_S)
        snapshot = look(client)
        if isinstance(snapshot, str):
            raise ConfigurationError(f"{snapshot}; is the address right, and does the pipeline run?")
        print(line(snapshot))


def api_address(data_dir: Path) -> str:
    """Where the API of the pipeline listens that runs in this directory; raises ConfigurationError when none does."""
    holder = running(data_dir)
    if holder is None:
        raise ConfigurationError("nothing runs here: start it with ./start.sh, or name an API with --url.")
    environment = holder.get("environment")
    port = environment.get("API_PORT", 8080) if isinstance(environment, dict) else 8080
    return f"http://127.0.0.1:{port}"

"""Makes `python -m src.stream_processor` work from the checkout."""

import importlib
import importlib.util
import sys


def door(name: str) -> None:
    """Open one of the two commands; says what to do where the project is not installed for this Python."""
    if importlib.util.find_spec("engagement_stream") is None:
        sys.exit("Not installed for this Python: run ./start.sh once, then use .venv/bin/python (or activate .venv).")
    getattr(importlib.import_module("engagement_stream.cli.doors"), name)()

"""Options and habits that several verbs share."""

import os
from pathlib import Path
from typing import Annotated

import typer

from engagement_stream.pipeline.lock import running
from engagement_stream.settings import Settings

DEFAULT_DATA_DIR = Path(".engagement")

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="ENGAGEMENT_DATA_DIR",
        help="Where the embedded servers keep their data and logs.",
    ),
]


def load_settings(data_dir: Path | None = None) -> Settings:
    """The settings; what the environment leaves open is taken from the pipeline that runs in this checkout.

    So `python -m src.data_generator` finds the embedded PostgreSQL even where its port had to be another one.
    """
    holder = running(data_dir or Path(os.environ.get("ENGAGEMENT_DATA_DIR", DEFAULT_DATA_DIR)))
    environment = holder.get("environment") if holder else None
    if isinstance(environment, dict):
        for name, value in environment.items():
            os.environ.setdefault(str(name), str(value))
    return Settings.load()

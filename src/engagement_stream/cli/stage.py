"""`engagement stage NAME`: one stage as a process; what the supervisor and the containers run."""

import sys
from typing import Annotated

import typer

from engagement_stream.pipeline.build import STAGES

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)
"""This verb without the others."""


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(STAGES)}.")],
) -> None:
    """Run one stage until SIGTERM; its state and metrics are at STAGE_STATUS_PORT."""
    from engagement_stream.pipeline.process import run_stage
    from engagement_stream.settings import Settings

    if name not in STAGES:
        raise typer.BadParameter(f"there is no stage {name!r}; there are {', '.join(STAGES)}")
    sys.exit(run_stage(name, Settings.load()))

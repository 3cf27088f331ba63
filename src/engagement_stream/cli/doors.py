"""The mission's two commands with their flags, mapped to the same verbs as `engagement`."""

from enum import StrEnum
from typing import Annotated

import typer

from engagement_stream.cli import backfill, generate, mendable_errors, stream

_STREAM, _GENERATE = "python -m src.stream_processor", "python -m src.data_generator"


class StreamMode(StrEnum):
    """What the stream processor does."""

    stream = "stream"
    backfill = "backfill"


class GeneratorMode(StrEnum):
    """What the data generator writes."""

    continuous = "continuous"
    batch = "batch"
    historical = "historical"


def _stream_processor(
    mode: Annotated[StreamMode, typer.Option(help="stream: run until Ctrl-C. backfill: deliver past days.")],
    start_date: Annotated[str | None, typer.Option(help="backfill: first day, YYYY-MM-DD, UTC.")] = None,
    end_date: Annotated[str | None, typer.Option(help="backfill: last day, included.")] = None,
) -> None:
    """Capture PostgreSQL's changes, enrich them and deliver them to every sink."""
    if mode is StreamMode.stream:
        stream.stream()
    elif start_date is None or end_date is None:
        raise typer.BadParameter("--mode backfill needs --start-date and --end-date")
    else:
        backfill.backfill(start_date, end_date)


def _data_generator(
    mode: Annotated[GeneratorMode, typer.Option(help="continuous until Ctrl-C, one batch, or past days.")],
    rate: Annotated[float, typer.Option(help="continuous: events per second.")] = generate.DEFAULT_RATE,
    batch_size: Annotated[int, typer.Option(help="batch: number of events.", min=1)] = 100,
    historical_days: Annotated[int, typer.Option(help="historical: days back from now.", min=1)] = 7,
    rows: Annotated[int | None, typer.Option(help="historical: number of events, else 50,000 a day.", min=1)] = None,
) -> None:
    """Write believable traffic into the source database."""
    if mode is GeneratorMode.continuous:
        generate.continuous(rate=rate)
    elif mode is GeneratorMode.batch:
        generate.batch(batch_size=batch_size)
    else:
        generate.historical(historical_days=historical_days, rows=rows)


def apps() -> dict[str, typer.Typer]:
    """Both, by the names they are called by."""
    return {_STREAM: _app(_STREAM, _stream_processor), _GENERATE: _app(_GENERATE, _data_generator)}


def stream_processor() -> None:
    """`python -m src.stream_processor`."""
    _run(_STREAM)


def data_generator() -> None:
    """`python -m src.data_generator`."""
    _run(_GENERATE)


def _app(name: str, command: "typer.models.CommandFunctionType") -> typer.Typer:
    app = typer.Typer(name=name, pretty_exceptions_enable=False, add_completion=False)
    app.command()(command)
    return app


def _run(name: str) -> None:
    with mendable_errors(name):
        apps()[name](prog_name=name)

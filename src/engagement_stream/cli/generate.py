"""`engagement generate`: believable traffic into the source database."""

import typer

app = typer.Typer(help="Write believable traffic into the source database.", no_args_is_help=True)

DEFAULT_RATE = 20.0


def continuous(rate: float = DEFAULT_RATE) -> None:
    raise NotImplementedError


def batch(batch_size: int = 100) -> None:
    raise NotImplementedError


def historical(historical_days: int = 7) -> None:
    raise NotImplementedError

"""`engagement reference`: pages of docs/reference that are made from the code."""

import typer

app = typer.Typer(help="Print a page of docs/reference.", no_args_is_help=True)


@app.callback()
def reference() -> None:
    """Pages that are made from the code, so that they say what is."""


@app.command("metrics")
def metrics() -> None:
    """Print docs/reference/metrics.md: every metric with its type, labels, unit and meaning."""
    from engagement_stream.cli.metrics_table import metrics_page

    print(metrics_page(), end="")


@app.command("settings")
def settings() -> None:
    """Print docs/reference/settings.md: every setting with its default, what is allowed and what it means."""
    from engagement_stream.cli.settings_table import settings_page

    print(settings_page(), end="")


@app.command("cli")
def commands() -> None:
    """Print docs/reference/cli.md: every command with its arguments and options."""
    from engagement_stream.cli.commands_table import commands_page

    print(commands_page(), end="")


@app.command("api")
def endpoints() -> None:
    """Print docs/reference/api.md: every endpoint with its parameters, answers and their fields."""
    from engagement_stream.cli.endpoints_table import endpoints_page

    print(endpoints_page(), end="")

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

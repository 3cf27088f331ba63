"""The `engagement` command and its verbs."""

import typer

from engagement_stream.cli import (
    api,
    backfill,
    bench,
    chaos,
    config,
    dlq,
    doctor,
    generate,
    rebuild,
    reference,
    stage,
    status,
    stream,
    top,
    up,
    verify,
)

app = typer.Typer(
    name="engagement",
    help="PostgreSQL changes, enriched and delivered exactly once to Redis, BigQuery and an HTTP endpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(up.up)
app.command("down")(up.down)
app.command("status")(status.status)
app.command("top")(top.top)
app.command("stream")(stream.stream)
app.command("backfill")(backfill.backfill)
app.command("stage")(stage.stage)
app.command("api")(api.api)
app.command("verify")(verify.verify)
app.command("chaos")(chaos.chaos)
app.command("doctor")(doctor.doctor)
app.add_typer(dlq.app, name="dlq")
app.add_typer(rebuild.app, name="rebuild")
app.add_typer(generate.app, name="generate")
app.add_typer(bench.app, name="bench")
app.add_typer(config.app, name="config")
app.add_typer(reference.app, name="reference")

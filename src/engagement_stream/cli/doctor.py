"""`engagement doctor`: what is wrong around the pipeline, and the command that mends it."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from engagement_stream.cli.options import DEFAULT_DATA_DIR, DataDir, load_settings

if TYPE_CHECKING:
    from engagement_stream.doctor.examination import Report

_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}
_console = Console(highlight=False)


def doctor(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Look at every server and setting the pipeline needs; each finding with the command that mends it.

    Looks at the pipeline that runs here, or at the servers of the environment. Exit code 1 when there is an error;
    warnings and notes alone are 0.
    """
    from engagement_stream.doctor.run import examine

    settings = load_settings(data_dir)
    with _console.status("looking ..."):
        report = examine(settings, data_dir)
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        show(report)
    raise typer.Exit(report.exit_code)


def show(report: "Report") -> None:
    """For people: a line a check, and below each finding what mends it."""
    for check in report.checks:
        if not check.findings:
            _line("ok", check.name, check.saw)
        elif check.saw:
            _line("", check.name, check.saw)
        for finding in check.findings:
            _line(finding.severity, check.name, finding.what)
            _console.print(f"{'':<23}do: {finding.mend}", markup=False, soft_wrap=True)
    _console.print(f"{report.errors} errors, {report.warnings} warnings")


def _line(word: str, name: str, text: str) -> None:
    _console.print(f"{word:<9}", style=_COLOURS.get(word, ""), end="")
    _console.print(f"{name:<12}  {text}", markup=False, soft_wrap=True)

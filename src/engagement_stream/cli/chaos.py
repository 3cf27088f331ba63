"""`engagement chaos`: break a pipeline of its own in every way a seed asks for, then verify it row by row."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from engagement_stream.cli.stream import stop_signal
from engagement_stream.errors import ConfigurationError
from engagement_stream.stack.part import Progress as Step

_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_console = Console(highlight=False)


def chaos(
    seed: Annotated[int, typer.Option(help="Decides which faults come when; the same seed plans the same.")] = 1,
    duration: Annotated[str, typer.Option(help="How long faults come: 90s, 10m, 1h.")] = "10m",
    rate: Annotated[float, typer.Option(help="Events per second of the load.", min=1)] = 200.0,
    profile: Annotated[
        Literal["standard", "smoke"], typer.Option(help="standard: every kind of fault. smoke: kills, close together.")
    ] = "standard",
    halting: Annotated[
        bool, typer.Option("--halting", help="Instead: the losses that must end in a loud stop with a remedy.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Where to write the report (Markdown).")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="A new directory to keep data and logs in; without it nothing is kept.")
    ] = None,
) -> None:
    """Start servers and stages of its own, load them, break them as the seed says, then compare every row.

    Exit code 1 when something is missing, doubled, wrong or out of order, or a stage did not recover.
    """
    duration_s = _seconds(duration)
    from engagement_stream.chaos.world import Interrupted, fresh_directory, kept_logs, without_own_settings

    if data_dir is not None and data_dir.exists() and any(data_dir.iterdir()):
        raise ConfigurationError(f"{data_dir} is not empty: chaos wants a directory of its own.")
    with without_own_settings(), fresh_directory(data_dir) as directory:
        try:
            code = _halting(directory) if halting else _run(seed, duration_s, profile, rate, directory, report)
        except Interrupted:
            _console.print("interrupted; everything is stopped, nothing was verified")
            code = 130
        if code == 1:
            _console.print(f"logs: {kept_logs(directory) if data_dir is None else directory / 'logs'}", soft_wrap=True)
    raise typer.Exit(code)


def _run(
    seed: int,
    duration_s: float,
    profile: Literal["standard", "smoke"],
    rate: float,
    directory: Path,
    report: Path | None,
) -> int:
    from engagement_stream.chaos.plan import plan
    from engagement_stream.chaos.points import crash_points
    from engagement_stream.chaos.report import markdown, summary
    from engagement_stream.chaos.run import ChaosRun

    planned = plan(seed, duration_s, profile, crash_points())
    _console.print(
        f"seed {seed}: {len(planned.faults)} faults of {len({f.kind for f in planned.faults})} kinds planned"
    )
    with _Display(_console, duration_s, len(planned.faults)) as display:
        result = ChaosRun(planned, rate, directory, stop_signal(), display.tell).run(display.prepared, display.progress)
    for sentence in summary(result):
        _console.print(sentence, markup=False, soft_wrap=True)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(markdown(result))
        _console.print(f"report: {report}")
    return result.exit_code


def _halting(directory: Path) -> int:
    from engagement_stream.chaos.halting import halt_everything

    with _Display(_console, 0.0, 0) as display:
        wrong = halt_everything(directory, stop_signal(), display.tell, display.prepared)
        for sentence in wrong:
            display.tell(f"wrong: {sentence}")
        display.tell("not every stage did what it must" if wrong else "every stage halted with its remedy")
    return 1 if wrong else 0


class _Display:
    """A line a fault; below them, on a terminal, a bar over the whole duration."""

    def __init__(self, console: Console, duration_s: float, faults: int) -> None:
        self._console, self._duration_s, self._faults = console, duration_s, faults
        self._said: set[str] = set()
        self._bars: Progress | None = None

    def tell(self, sentence: str) -> None:
        self._console.print(sentence, markup=False, soft_wrap=True)

    def prepared(self, step: Step) -> None:
        """A server takes a step of its preparation; on the first start of all that takes long."""
        if (said := f"{step.part}: {step.step}") not in self._said:
            self._said.add(said)
            self.tell(said)

    def progress(self, now_s: float, struck: int) -> None:
        """So many seconds since the load began, so many faults so far."""
        if not self._console.is_terminal:
            return
        if self._bars is None:
            self._bars = Progress(TextColumn("{task.description}"), BarColumn(), console=self._console, transient=True)
            self._bars.add_task("", total=self._duration_s)
            self._bars.start()
        told = f"{now_s:.0f} of {self._duration_s:.0f} s, {struck} of {self._faults} faults"
        self._bars.update(self._bars.task_ids[0], completed=now_s, description=told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise ConfigurationError(f"--duration {text!r} is not like 90s, 10m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]

"""What the source says: where calls to the outside stand, and whether crash points stand around them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import engagement_stream
from engagement_stream.crash_catalog import calls_in, crash_points
from tests.crash_points.outside import FOREIGN, QUESTIONS
from tests.crash_points.step import Step
from tests.crash_points.steps import STEPS

PACKAGE = Path(engagement_stream.__file__).parent
POINTS = crash_points()
ROOMS = ("broker", "capture", "enrich", "sinks", "generate", "rebuild", "backfill")
"""Rooms with a protocol. The others watch, look or start servers."""


@cache
def _calls(file: str) -> tuple[tuple[str, ast.Call], ...]:
    return tuple(calls_in(ast.parse((PACKAGE / file).read_text())))


def _name(call: ast.Call) -> str:
    """`receiver.method` or `function`, as it stands there."""
    match call.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=method, value=ast.Name(id=receiver) | ast.Attribute(attr=receiver)):
            return f"{receiver}.{method}"
        case ast.Attribute(attr=method):
            return f"().{method}"
    return ""


def foreign_calls() -> Iterator[tuple[str, str]]:
    """(file::function, call) of every call to the outside in a protocol's room."""
    for room in ROOMS:
        for path in sorted((PACKAGE / room).rglob("*.py")):
            file = path.relative_to(PACKAGE).as_posix()
            for function, call in _calls(file):
                name = _name(call)
                if name in FOREIGN or name.partition(".")[2] in FOREIGN:
                    yield f"{file}::{function}", name


def without_step() -> list[str]:
    """Foreign calls that no step and no question stands for."""
    known = {place for step in STEPS for place in (step.where, *step.reaches)} | QUESTIONS.keys()
    return sorted({f"{where}: {call}" for where, call in foreign_calls() if where not in known})


def stale() -> list[str]:
    """Places in the table that hold no foreign call any more."""
    present = {where for where, _ in foreign_calls()}
    named = {place for step in STEPS for place in step.reaches} | QUESTIONS.keys()
    return sorted(named - present)


def not_around(step: Step) -> str | None:
    """Why the step's crash points do not stand around its call; None if they do."""
    file, _, function = step.where.partition("::")
    lines = [call.lineno for where, call in _calls(file) if where == function and _name(call) == step.call]
    points = {p.name: p.line for p in POINTS if p.file == file and p.function == function}
    for name in (step.before, step.after):
        if name is not None and name not in points:
            return f"{step.where}: there is no crash point {name}"
    before = 0 if step.before is None else points[step.before]
    if not any(before < line < points[step.after] for line in lines):
        return f"{step.where}: {step.call} does not stand between {step.before} and {step.after}"
    return None

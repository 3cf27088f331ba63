"""All crash points of this package, read from its source: what chaos may arm and what the documentation lists."""

import ast
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True, slots=True, order=True)
class CrashPoint:
    """One `crash_point("room.step")`: `file` within the package, `function` as Class.method."""

    name: str
    file: str
    function: str
    line: int

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    @property
    def step(self) -> str:
        return self.name.partition(".")[2]


def crash_points(package: Path = _PACKAGE) -> tuple[CrashPoint, ...]:
    """Every call in the source, by name. Raises ValueError for a name that is not a literal `room.step`."""
    found: list[CrashPoint] = []
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        for function, call in calls_in(ast.parse(path.read_text())):
            if isinstance(call.func, ast.Name) and call.func.id == "crash_point":
                found.append(CrashPoint(_literal(call, file), file, function, call.lineno))
    return tuple(sorted(found))


def calls_in(node: ast.AST, names: tuple[str, ...] = ()) -> list[tuple[str, ast.Call]]:
    """(the function it stands in, the call), in the order of the source."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        names = (*names, node.name)
    found = [(".".join(names), node)] if isinstance(node, ast.Call) else []
    for child in ast.iter_child_nodes(node):
        found += calls_in(child, names)
    return found


def _literal(call: ast.Call, file: str) -> str:
    match call.args:
        case [ast.Constant(value=str(name))] if name.count(".") == 1:
            return name
    raise ValueError(f"{file}:{call.lineno}: a crash point is named by a literal 'room.step'")

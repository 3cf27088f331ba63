"""What may be logged: an event with a fixed name, and fields that are told apart from it; never a row or a body."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src" / "engagement_stream"
PAYLOADS = {"payload", "value", "values", "row", "rows", "record", "body", "raw", "key", "message", "url", "dsn"}


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            function = node.func if isinstance(node, ast.Call) else None
            of_log = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Call)
            if isinstance(node, ast.Call) and of_log and ast.unparse(function.value) == "log()":  # type: ignore[union-attr]  # as asked
                yield f"{path.relative_to(SOURCES)}:{node.lineno}", node


CALLS = dict(_calls())


def test_the_calls_are_found() -> None:
    """Or the tests below would be about nothing."""
    assert len(CALLS) > 10


@pytest.mark.parametrize("where", CALLS)
def test_a_line_has_a_fixed_name_and_no_payload(where: str) -> None:
    """So that lines can be counted, and nothing of the people whose events these are is kept in a log."""
    call = CALLS[where]
    event = call.args[0]
    assert len(call.args) == 1
    assert isinstance(event, ast.Constant), "the event's name is fixed; what varies is a field"
    assert str(event.value)[0].islower()
    assert not {keyword.arg for keyword in call.keywords} & PAYLOADS
    assert not any(isinstance(node, ast.JoinedStr) for keyword in call.keywords for node in ast.walk(keyword.value))

"""The house stays easy to find one's way in: sizes, names and first sentences of files."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FORBIDDEN_NAMES = {"utils.py", "util.py", "common.py", "helpers.py", "helper.py", "misc.py", "manager.py"}


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))], ids=lambda p: p.name)
def test_a_file_stays_small_enough_to_be_read(path: Path) -> None:
    """A file beyond 400 lines wants to be two."""
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_named_after_what_it_holds_and_says_so(path: Path) -> None:
    """No drawer for everything; the first sentence of each module says what it is for."""
    assert path.name not in FORBIDDEN_NAMES
    sentence = ast.get_docstring(ast.parse(path.read_text()))
    assert sentence is not None, f"{path} has no docstring"


def test_no_registry_host_and_no_machine_path_is_named() -> None:
    """Packages are named, not the hosts they come from; nothing depends on somebody's machine."""
    forbidden = re.compile(r"pypi\.org|pythonhosted|repo1\.maven|maven\.org|registry\.npmjs|/root/|/home/\w+/")
    found = []
    for path in ROOT.rglob("*"):
        relative = path.relative_to(ROOT)
        if not path.is_file() or relative.parts[0].startswith(".") or path == Path(__file__):
            continue
        if path.suffix in {".py", ".md", ".sh", ".txt", ".toml", ".sql", ".lua", ".html", ".json", ".yml"}:
            found += [f"{relative}: {hit}" for hit in forbidden.findall(path.read_text())]
    assert not found

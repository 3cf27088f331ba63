"""Both READMEs say the same, and nothing that is not there."""

import re
from pathlib import Path

import pytest
import typer

from engagement_stream.cli.app import app

ROOT = Path(__file__).parents[2]
ENGLISH, ARABIC = ((ROOT / name).read_text() for name in ("README.md", "README.ar.md"))
_LINK = re.compile(r"(?:\]\(|src=\")([^)\"]+)")


def code_blocks(text: str) -> list[str]:
    """Fenced blocks, in order."""
    return re.findall(r"```.*?```", text, re.DOTALL)


def links(text: str) -> set[str]:
    """Where it points to within the repository, the other language apart."""
    return {link for link in _LINK.findall(text) if "://" not in link and not link.startswith("README")}


def test_the_arabic_readme_has_the_same_commands_links_and_chapters() -> None:
    """A change of one is a change of both."""
    assert code_blocks(ARABIC) == code_blocks(ENGLISH)
    assert links(ARABIC) == links(ENGLISH)
    for mark in ("\n## ", "\n| `"):
        assert ARABIC.count(mark) == ENGLISH.count(mark)


@pytest.mark.parametrize("text", [ENGLISH, ARABIC], ids=["English", "Arabic"])
def test_every_link_leads_somewhere(text: str) -> None:
    """Within the repository."""
    assert not [link for link in links(text) if not (ROOT / link).exists()]


@pytest.mark.parametrize("text", [ENGLISH, ARABIC], ids=["English", "Arabic"])
def test_every_verb_that_is_named_exists(text: str) -> None:
    """`engagement verb ...`."""
    verbs = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a group's
    named = set(re.findall(r"engagement ([a-z]+)", " ".join(re.findall(r"`([^`\n]+)`", text))))
    assert named
    assert named <= verbs

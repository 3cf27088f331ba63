"""The dashboard's words: complete in both languages, and each that the page asks for exists."""

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "src" / "engagement_stream" / "api" / "dashboard"
WORDS = json.loads((FOLDER / "words.json").read_text())
FAMILIES = ("stage", "role", "phase", "guarantee", "state", "kind", "type", "trouble", "figure", "unit")
"""Words whose second part comes from the API."""


def _placeholders(entry: str | dict[str, str]) -> set[str]:
    texts = [entry] if isinstance(entry, str) else [entry["other"]]
    return {name for text in texts for name in re.findall(r"\{(\w+)\}", text)}


def test_both_languages_say_the_same_things() -> None:
    """The same keys, the same values within them."""
    assert WORDS["en"].keys() == WORDS["ar"].keys()
    for key, english in WORDS["en"].items():
        assert _placeholders(english) == _placeholders(WORDS["ar"][key]), key


def test_what_is_counted_in_arabic_has_its_plural_forms() -> None:
    """One, two, few, many, other: a language with two forms needs only two."""
    for key, entry in WORDS["ar"].items():
        if isinstance(entry, dict):
            assert {"one", "few", "many", "other"} <= entry.keys(), key


def test_every_word_that_the_page_asks_for_exists() -> None:
    """In the markup and in the modules."""
    asked = set(re.findall(r'data-word="([^"]+)"', (FOLDER / "index.html").read_text()))
    for module in FOLDER.rglob("*.js"):
        asked |= set(re.findall(r'word\("([^"]+)"', module.read_text()))
        families = re.findall(r"word\(`(\w+)\.\$", module.read_text())
        assert set(families) <= set(FAMILIES), module
    assert asked
    assert asked <= WORDS["en"].keys()


def test_every_state_and_trouble_of_the_api_has_a_word() -> None:
    """Nobody reads a key."""
    from typing import get_args

    from engagement_stream.api.live.models import TroubleKind
    from engagement_stream.api.models import StageState

    expected = {f"state.{state}" for state in get_args(StageState)}
    expected |= {f"trouble.{kind}" for kind in get_args(TroubleKind)}
    expected |= {f"trouble.{kind}.remedy" for kind in get_args(TroubleKind)}
    assert expected <= WORDS["en"].keys()


def test_the_page_loads_nothing_from_elsewhere_and_has_no_inline_code() -> None:
    """What the Content-Security-Policy forbids is not tried."""
    page = (FOLDER / "index.html").read_text()
    assert "://" not in page
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page)
    for part in FOLDER.rglob("*"):
        if part.suffix in {".js", ".css"}:
            assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", part.read_text()), part
            assert len(part.read_text().splitlines()) <= 200, part

"""A textual patch of a product file: what is replaced has to stand there exactly once."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "engagement_stream"


@dataclass(frozen=True, slots=True)
class Patch:
    """In `file` (within the package) `old` becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """What it `breaks`, the `scenario` that must notice, and the word of the ledger by which it does (`seen`)."""

    name: str
    breaks: str
    scenario: str
    seen: str
    patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens in it; its `staging` patches are there with and without a mutant: they make the scenario smaller."""

    name: str
    story: str
    staging: tuple[Patch, ...] = ()


def patched(file: str, patches: Iterable[Patch]) -> str:
    """The file's text with these patches. Raises ValueError when one does not fit exactly once."""
    text = (PACKAGE / file).read_text()
    for patch in patches:
        if (count := text.count(patch.old)) != 1:
            raise ValueError(f"{file}: the text to replace occurs {count} times: {patch.old!r}")
        text = text.replace(patch.old, patch.new)
    return text

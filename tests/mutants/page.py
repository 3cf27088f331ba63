"""The page of all mutants: `python -m tests.mutants.page > docs/reference/mutants.md`."""

import sys

from tests.mutants.catalogue import MUTANTS, SCENARIOS, mutants_of

_HEAD = """\
# Mutants

Generated and checked by a test: `python -m tests.mutants.page > docs/reference/mutants.md`.

A test suite that finds nothing wrong proves little until it has been seen to find something. Each mutant is a small,
deliberate defect in the product's source, put in by an import hook of the tests while a process starts (the product has
no switch for it). Its scenario runs against real servers twice: with the unchanged product the ledger must find
nothing, with the mutant it must find what the last column says. `pytest tests/mutants` does both and prints what was
found; a mutant that survives fails the build.
"""


def page() -> str:
    """The whole page, as text."""
    parts = [_HEAD]
    for scenario in SCENARIOS.values():
        parts.append(f"\n## {scenario.name}\n\n{scenario.story}\n")
        for patch in scenario.staging:
            parts.append(f"\nTo make it small or sharp, with and without a mutant: `{patch.old.strip()}` is ")
            parts.append(f"`{patch.new.strip()}` in `{patch.file}`.\n")
        parts.append("\n| mutant | what it breaks | where | seen as |\n|---|---|---|---|\n")
        for mutant in mutants_of(scenario.name):
            files = ", ".join(f"`{file}`" for file in dict.fromkeys(patch.file for patch in mutant.patches))
            parts.append(f"| {mutant.name} | {mutant.breaks} | {files} | {mutant.seen} |\n")
    parts.append(f"\n{len(MUTANTS)} mutants in {len(SCENARIOS)} scenarios.\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())

"""Every mutant still fits the source it changes, belongs to a scenario that is played, and stands on the page."""

import ast
from pathlib import Path

import pytest

from tests.mutants import sinks, stages
from tests.mutants.catalogue import MUTANTS, SCENARIOS, patches_of
from tests.mutants.page import page
from tests.mutants.patching import PACKAGE, Mutant, patched

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_a_mutant_changes_the_source_and_leaves_it_readable(mutant: Mutant) -> None:
    """What it replaces stands there exactly once, also beside its scenario's own patches."""
    patches = patches_of([mutant.scenario, mutant.name])
    for file in {patch.file for patch in mutant.patches}:
        text = patched(file, [patch for patch in patches if patch.file == file])
        assert text != (PACKAGE / file).read_text()
        if file.endswith(".py"):
            ast.parse(text)


def test_names_are_unique_and_every_scenario_has_mutants() -> None:
    """A mutant and a scenario share one name space: both are named in a process's environment."""
    names = [entry.name for entry in (*stages.MUTANTS, *sinks.MUTANTS, *stages.SCENARIOS, *sinks.SCENARIOS)]
    assert len(names) == len(set(names))
    assert not any("," in name for name in names)
    assert {mutant.scenario for mutant in MUTANTS.values()} == SCENARIOS.keys()


def test_every_scenario_is_played_by_a_test() -> None:
    """By the constant that names it."""
    constants = {
        value: name
        for module in (stages, sinks)
        for name, value in vars(module).items()
        if isinstance(value, str) and value in SCENARIOS
    }
    played = "".join(path.read_text() for path in (_ROOT / "tests" / "mutants").glob("test_*.py"))
    assert [name for name in SCENARIOS if f"assert_every_mutant_is_caught({constants[name]}," not in played] == []


def test_the_page_of_mutants_is_fresh() -> None:
    """`python -m tests.mutants.page > docs/reference/mutants.md`."""
    assert (_ROOT / "docs" / "reference" / "mutants.md").read_text() == page()

"""All mutants and their scenarios, by name."""

from collections.abc import Iterable

from tests.mutants import sinks, stages
from tests.mutants.patching import Mutant, Patch, Scenario

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (*stages.SCENARIOS, *sinks.SCENARIOS)}
MUTANTS: dict[str, Mutant] = {mutant.name: mutant for mutant in (*stages.MUTANTS, *sinks.MUTANTS)}


def mutants_of(scenario: str) -> list[Mutant]:
    return [mutant for mutant in MUTANTS.values() if mutant.scenario == scenario]


def patches_of(names: Iterable[str]) -> list[Patch]:
    """Of mutants and scenarios, mixed."""
    found: list[Patch] = []
    for name in names:
        found += MUTANTS[name].patches if name in MUTANTS else SCENARIOS[name].staging
    return found

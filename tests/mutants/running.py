"""One scenario, without and with each of its mutants: the first must find nothing, every other must find something."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.catalogue import mutants_of
from tests.mutants.patching import Mutant

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_AT_ONCE = 3
"""Runs wait more than they work."""

Environment = dict[str, str]
Run = Callable[[Path, Environment], list[str]]
"""(a folder of its own, environment of its processes) -> what the ledger found, a sentence each."""


def assert_every_mutant_is_caught(scenario: str, run: Run, place: Path) -> None:
    """Caught: the mutant's files were really in use, and the ledger says what it has to say."""
    mutants = mutants_of(scenario)
    assert mutants
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        plain = pool.submit(_found, run, place / "plain", [scenario])
        mutated = [pool.submit(_found, run, place / mutant.name, [scenario, mutant.name]) for mutant in mutants]
        assert plain.result() == [], f"{scenario}: the unchanged product is not right"
        answers = [future.result() for future in mutated]
    problems = []
    for mutant, found in zip(mutants, answers, strict=True):
        print(f"{mutant.name}: {'; '.join(found) or 'SURVIVES'}"[:300])
        if not any(mutant.seen in finding for finding in found):
            problems.append(f"{mutant.name} is not seen as {mutant.seen!r}: {found}")
        problems += _not_in_use(mutant, place / mutant.name)
    assert not problems, problems


def _found(run: Run, place: Path, names: list[str]) -> list[str]:
    place.mkdir()
    environment = {
        "PYTHONPATH": f"{_HERE / 'site'}:{_ROOT}:{_ROOT / 'src'}",
        "MUTANT_PATCHES": ",".join(names),
        "MUTANT_SEEN": str(place / "seen"),
    }
    return run(place, environment)


def _not_in_use(mutant: Mutant, place: Path) -> list[str]:
    used = set((place / "seen").read_text().splitlines()) if (place / "seen").exists() else set()
    return [f"{mutant.name}: {file} was never used" for file in {patch.file for patch in mutant.patches} - used]

"""The fault plan: a pure function of the seed and the duration. Same seed, same plan, whatever the machine does.

A deck holds every kind at every target; it is shuffled, dealt and shuffled again, so that no kind is left out. Sinks
do not feel each other's faults, so their lanes run side by side; what stops all of them stands alone. A few faults are
dealt into the middle of the one before, on purpose: `overlapping`.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from engagement_stream.chaos.kinds import BY_NAME, KINDS, STAGES, Kind, stages_felt
from engagement_stream.chaos.points import FIRST_START, points_of, repeated

Profile = Literal["standard", "smoke"]
Value = str | int | float
_SMOKE = ("kill", "crash point")
_OVERLAPPING = 0.08
_GAP_S = (0.3, 1.5)
_SMOKE_PERIOD_S = (3.0, 5.0)
_QUIET_S = 3.0
"""At the beginning: something has to flow before it can be stopped."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault; `at_s` counts from the start of the load."""

    at_s: float
    kind: str
    target: str
    hold_s: float = 0.0
    parameters: Mapping[str, Value] = field(default_factory=dict)
    overlapping: bool = False

    @property
    def felt_by(self) -> tuple[str, ...]:
        """Stages whose recovery is waited for."""
        return stages_felt(self.target)

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return f"{self.kind} {self.target}" + (f" ({told})" if told else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """`first_crash` is where the very first capture dies, during its first copy."""

    seed: int
    duration_s: float
    profile: Profile
    first_crash: str
    faults: tuple[Fault, ...]


def plan(seed: int, duration_s: float, profile: Profile, points: frozenset[str]) -> Plan:
    """`points`: every crash point there is."""
    rng = random.Random(f"{seed}/{duration_s:g}/{profile}")  # noqa: S311 - repeatable on purpose
    first = rng.choice(sorted(FIRST_START))
    deal = _smoke if profile == "smoke" else _standard
    faults = sorted(deal(rng, duration_s, points), key=lambda fault: (fault.at_s, fault.target))
    return Plan(seed, duration_s, profile, first, tuple(faults))


def _standard(rng: random.Random, duration_s: float, points: frozenset[str]) -> Iterator[Fault]:
    free_s = dict.fromkeys(STAGES, _QUIET_S)
    last_s = _QUIET_S
    deck = _deck(rng, [kind for kind in KINDS for _ in range(kind.copies)])
    while True:
        kind, target = next(deck)
        felt = stages_felt(target)
        overlapping = rng.random() < _OVERLAPPING
        due_s = last_s + rng.uniform(0.2, 2.0) if overlapping else max(free_s[s] for s in felt) + rng.uniform(*_GAP_S)
        fault = _fault(rng, kind, target, due_s, points, overlapping=overlapping)
        if due_s + fault.hold_s > duration_s:
            return
        yield fault
        last_s = due_s
        over_s = due_s + kind.settle_s + (0.0 if kind.lasting else fault.hold_s)
        for stage in felt:
            free_s[stage] = max(free_s[stage], over_s)


def _smoke(rng: random.Random, duration_s: float, points: frozenset[str]) -> Iterator[Fault]:
    """Kills only, all stages side by side, one after another in each."""
    for stage in STAGES:
        at_s = _QUIET_S + rng.uniform(0.0, 2.0)
        kinds = _deck(rng, [BY_NAME[name] for name in _SMOKE], stage)
        while at_s <= duration_s:
            kind, _ = next(kinds)
            yield _fault(rng, kind, stage, at_s, points, overlapping=False)
            at_s += rng.uniform(*_SMOKE_PERIOD_S)


def _deck(rng: random.Random, kinds: list[Kind], only: str = "") -> Iterator[tuple[Kind, str]]:
    while True:
        cards = [(kind, target) for kind in kinds for target in kind.targets if not only or target == only]
        rng.shuffle(cards)
        yield from cards


def _fault(
    rng: random.Random, kind: Kind, target: str, at_s: float, points: frozenset[str], *, overlapping: bool
) -> Fault:
    hold_s = round(rng.uniform(*kind.hold_s), 1)
    return Fault(round(at_s, 1), kind.name, target, hold_s, _parameters(rng, kind, target, points), overlapping)


def _parameters(rng: random.Random, kind: Kind, target: str, points: frozenset[str]) -> dict[str, Value]:
    if kind.name == "crash point":
        point = rng.choice(points_of(target, points))
        return {"at": point, "nth": rng.choice((1, 1, 2, 3, 5, 20)) if repeated(point) else 1}
    if kind.name == "slow network":
        return {"delay_ms": rng.randint(5, 80), "kb_per_s": rng.randint(60, 400)}
    if kind.name == "answers cut":
        return {"after_bytes": rng.choice((1, 3, 7, 20, 60, 300))}
    if kind.name == "receiver refuses":
        return {"status": rng.choice((500, 502, 503))}
    if kind.name == "receiver limits":
        return {"retry_after_s": rng.randint(1, 3)}
    if kind.name in {"receiver hangs up", "receiver trickles"}:
        return {"times": rng.randint(1, 5)}
    if kind.name == "large transaction":
        return {"events": rng.randint(3, 25) * 1_000}
    if kind.name == "content edits":
        return {"edits": rng.randint(30, 200)}
    return {}

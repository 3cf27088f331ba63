"""What came of a run: every fault with its outcome, the ledger's answer, and the verdict. Pure values."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engagement_stream.chaos.plan import Fault, Plan
from engagement_stream.verify.report import Report as Ledger


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it happened; seconds since the start of the load.

    `recovered_s`: from its end until every stage that felt it had made durable what was committed after that end.
    None: never. `skipped`: why it was not done at all.
    """

    fault: Fault
    began_s: float
    ended_s: float
    recovered_s: float | None = None
    note: str = ""
    skipped: str = ""

    @property
    def done(self) -> bool:
        return not self.skipped

    @property
    def over_s(self) -> float:
        """When everything was well again."""
        return self.ended_s + (self.recovered_s if self.recovered_s is not None else math.inf)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything a report says."""

    plan: Plan
    rate_per_s: float
    struck: Sequence[Struck]
    kills: Mapping[str, int]
    events: int
    seconds: float
    ledger: Ledger | None
    wrong: Sequence[str] = ()
    """What must not be, in sentences: a stage that never recovered, a zombie that went on, a broken order."""
    remarks: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 only when every event is everywhere once, right and in order, and every stage recovered."""
        if self.wrong or self.ledger is None or any(s.done and s.recovered_s is None for s in self.struck):
            return 1
        in_flight = any(place.in_flight for place in self.ledger.places)
        return 1 if self.ledger.exit_code or in_flight else 0

    @property
    def done(self) -> list[Struck]:
        return [struck for struck in self.struck if struck.done]


@dataclass(frozen=True, slots=True)
class KindFigure:
    """How one kind of fault went; recoveries in seconds, of all its targets together."""

    kind: str
    targets: Mapping[str, int]
    recovered_s: Sequence[float]
    never: int

    @property
    def count(self) -> int:
        return sum(self.targets.values())

    def quantile_s(self, q: float) -> float:
        """Nearest rank; NaN where nothing recovered."""
        ranked = sorted(self.recovered_s)
        return ranked[max(math.ceil(q * len(ranked)) - 1, 0)] if ranked else math.nan


def by_kind(struck: Sequence[Struck]) -> list[KindFigure]:
    """One figure a kind, in the order of the vocabulary."""
    from engagement_stream.chaos.kinds import KINDS

    figures = []
    for kind in KINDS:
        of_kind = [s for s in struck if s.done and s.fault.kind == kind.name]
        if of_kind:
            figures.append(
                KindFigure(
                    kind.name,
                    Counter(s.fault.target for s in of_kind),
                    [s.recovered_s for s in of_kind if s.recovered_s is not None],
                    sum(s.recovered_s is None for s in of_kind),
                )
            )
    return figures


def together(struck: Sequence[Struck]) -> set[int]:
    """Places in the list of those that were felt by a stage while another fault was still felt by it."""
    found = set()
    for i, one in enumerate(struck):
        for j, other in enumerate(struck):
            if (
                i != j
                and one.done
                and other.done
                and set(one.fault.felt_by) & set(other.fault.felt_by)
                and one.began_s < other.over_s
                and other.began_s < one.over_s
            ):
                found.add(i)
    return found

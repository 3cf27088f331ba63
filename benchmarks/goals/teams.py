"""Several workers of one stage, looked at as if they were one process."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from engagement_stream.bench.rig import Rig, StageProcess


@dataclass(frozen=True, slots=True)
class Team:
    """The workers of a stage; each has partitions of its own."""

    members: Sequence[StageProcess]

    def records(self) -> int:
        """Durable behind all of them together."""
        return sum(member.records() for member in self.members)

    def cpu_s(self) -> float:
        """CPU time of all of them together."""
        return sum(member.cpu_s() for member in self.members)

    def rss_bytes(self) -> int:
        """Resident memory of the largest."""
        return max(member.rss_bytes() for member in self.members)


@contextmanager
def teams(rig: Rig, stages: Sequence[str], workers: int) -> Iterator[dict[str, Team]]:
    """`stages` with so many workers each, and capture before them, which is one: a slot has one reader."""
    with ExitStack() as running:
        capture = running.enter_context(rig.stages("capture"))["capture"]
        started = [running.enter_context(rig.stages(*stages, STAGE_WORKER=str(n))) for n in range(workers)]
        yield {"capture": Team([capture]), **{name: Team([one[name] for one in started]) for name in stages}}

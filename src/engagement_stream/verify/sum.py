"""One hash of counters in Redis, from which a fold of the log takes every event away. Pure."""

from array import array
from dataclasses import dataclass, field

from engagement_stream.model.engagement import Engagement
from engagement_stream.model.position import BEGINNING, Position
from engagement_stream.sinks.redis.fold import COUNTERS

_SLOT = {name: COUNTERS.index(name) for name in ("play", "pause", "finish", "click")}
_UNTYPED, _MS, _TIMED = COUNTERS.index("untyped"), COUNTERS.index("ms"), COUNTERS.index("timed")


def zeros() -> "array[int]":
    """Of every counter."""
    return array("q", bytes(8 * len(COUNTERS)))


@dataclass(slots=True)
class Sum:
    """One hash of counters as of `fence`; the fold takes away, so `left` is what is too much."""

    fence: int
    left: "array[int]"
    texts: tuple[str, ...] = ()
    latest: tuple[str, ...] = ()
    latest_at: Position = BEGINNING
    partition: int = 0
    replays_fence: int = 0
    since: int = 0
    """The fence of the round before: what lies before it is not in `left`."""
    since_replays: int = 0
    held: "array[int]" = field(default_factory=zeros)
    """As it was read."""

    def concerns(self, offset: int, *, replayed: bool) -> bool:
        """Whether `left` counts the event at this offset."""
        if replayed:
            return self.since_replays <= offset < self.replays_fence
        return self.since <= offset < self.fence

    def fence_of(self, *, replayed: bool) -> int:
        return self.replays_fence if replayed else self.fence

    def take(self, event: Engagement) -> None:
        left = self.left
        left[0] -= 1
        left[_SLOT.get(event.event_type or "", _UNTYPED)] -= 1
        if event.duration_ms is not None:
            left[_MS] -= event.duration_ms
            left[_TIMED] -= 1

    def differences(self, rebuilt_from: tuple[str, ...] = ()) -> list[str]:
        """Each counter that is not what the log says, and the texts; `rebuilt_from`: those that a rebuild has read."""
        found = [
            f"{name} is {abs(left):,} too {'many' if left > 0 else 'few'}"
            for name, left in zip(COUNTERS, self.left, strict=True)
            if left
        ]
        wanted = self.latest or rebuilt_from
        if wanted and self.texts != wanted:
            found.append(f"title, slug, type are {self.texts}, the log says {wanted}")
        return found

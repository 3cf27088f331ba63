"""Redis totals against a fold of the log up to the fence that they were read at. Pure.

A partition that was rebuilt out of PostgreSQL keeps what the rebuild counted (and compared with SQL's own sums): there
the fold begins with that, and takes the log from the rebuild's LSN on, however little the log still holds before.

Each hash carries the exact place in the log that it stands for. The fold then takes every event before that place away;
what is right ends at zero. The next round takes what was read as it is, told or right, and folds only what lies between
the two fences. Memory grows with the contents, not with the events.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from engagement_stream.enrich.versions import Version
from engagement_stream.model.engagement import Engagement
from engagement_stream.model.position import Position
from engagement_stream.verify.sum import Sum


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Where a rebuilt partition joined the log: at `fence`, with everything committed before `lsn` in it.

    Behind offset `until` only replays are so old; `replays` is where it joined the replays to Redis itself.
    """

    lsn: int = 0
    fence: int = 0
    events: int = 0
    until: int = 0
    replays: int = 0


_NOT_REBUILT = Rebuilt()
Versions = Mapping[str, Sequence[Version]]


@dataclass(slots=True)
class Before:
    """What the round before read of Redis."""

    partitions: dict[int, Sum] = field(default_factory=dict)
    contents: dict[str, Sum] = field(default_factory=dict)
    seen_from: dict[int, int] = field(default_factory=dict)
    seen_replays_from: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Totals:
    """What Redis held; feed the whole log through `take`, then ask `differences`."""

    partitions: dict[int, Sum] = field(default_factory=dict)
    contents: dict[str, Sum] = field(default_factory=dict)
    seen_from: dict[int, int] = field(default_factory=dict)
    """Partition -> fence before its contents were listed: a content of an earlier event has to be there."""
    seen_replays_from: dict[int, int] = field(default_factory=dict)
    """The same for the fence of replays."""
    absent: dict[str, int] = field(default_factory=dict)
    """Contents that have events before the fence and are not in Redis -> number of those events."""
    behind: int = 0
    """Events that the fences have not come to."""
    events: int = 0
    held: int = 0
    """Events that Redis says it has counted."""
    rebuilt: dict[int, Rebuilt] = field(default_factory=dict)
    generations: dict[int, str] = field(default_factory=dict)
    """Partition -> what a rebuild named its keys; another name is another beginning."""
    before: Before = field(default_factory=Before)
    ends: dict[int, int] = field(default_factory=dict)
    """Partition -> the highest fence that was met: so far the log has to be read; the same for replays."""
    replay_ends: dict[int, int] = field(default_factory=dict)

    def starts(self, partition: int) -> tuple[int, int]:
        """From where the log and the replays have to be read."""
        whole = self.before.partitions.get(partition)
        if whole is not None:
            return whole.fence, whole.replays_fence
        rebuilt = self.rebuilt.get(partition, _NOT_REBUILT)
        return rebuilt.fence, rebuilt.replays

    def settle(self) -> None:
        """The round is over. What was read is where the next one begins."""
        listed = self.seen_from
        kept = {i: one for i, one in self.before.contents.items() if one.partition not in listed}
        self.before.contents = kept | self.contents
        self.before.partitions |= self.partitions
        self.before.seen_from |= listed
        self.before.seen_replays_from |= self.seen_replays_from
        self.clear()

    def clear(self) -> None:
        """Forget this round."""
        for this_round in (self.partitions, self.contents, self.seen_from, self.seen_replays_from, self.absent):
            this_round.clear()
        self.ends, self.replay_ends = {}, {}
        self.behind = self.events = self.held = 0

    def forget(self, partition: int) -> None:
        """Redis begins anew there (it was rebuilt, or has lost something)."""
        before = self.before
        before.contents = {i: one for i, one in before.contents.items() if one.partition != partition}
        for kept in (before.partitions, before.seen_from, before.seen_replays_from):
            kept.pop(partition, None)

    def take(self, partition: int, offset: int, event: Engagement) -> None:
        rebuilt = self.rebuilt.get(partition, _NOT_REBUILT)
        if event.position[0] >= rebuilt.lsn or offset >= rebuilt.until:
            self._take(partition, offset, event, replayed=False)

    def take_replay(self, partition: int, offset: int, event: Engagement) -> None:
        """A dead letter that was sent back: counted into the same totals, behind a fence of its own."""
        if offset >= self.rebuilt.get(partition, _NOT_REBUILT).replays:
            self._take(partition, offset, event, replayed=True)

    def _take(self, partition: int, offset: int, event: Engagement, *, replayed: bool) -> None:
        whole, before = self.partitions.get(partition), self.before.partitions.get(partition)
        if before is not None and offset < before.fence_of(replayed=replayed):
            return  # read for somebody else
        if whole is None or offset >= whole.fence_of(replayed=replayed):
            self.behind += 1
        else:
            whole.take(event)
            self.events += 1
        content_id = event.content_id
        if content_id is None:
            return
        one = self.contents.get(content_id)
        if one is None:
            if offset < (self.seen_replays_from if replayed else self.seen_from).get(partition, 0):
                self.absent[content_id] = self.absent.get(content_id, 0) + 1
        elif one.concerns(offset, replayed=replayed):
            one.take(event)
            if event.slug is not None and event.position >= one.latest_at:
                one.latest_at = event.position
                one.latest = (event.title or "", event.slug or "", event.content_type or "")

    def incomplete(self, begins: Sequence[int], replays_begin: Sequence[int] = ()) -> list[int]:
        """Partitions of which the logs, which begin there, have lost something that was counted from them."""
        lost = {p for p, begin in enumerate(begins) if begin > self.starts(p)[0]}
        return sorted(lost | {p for p, begin in enumerate(replays_begin) if begin > self.starts(p)[1]})

    def differences(
        self, incomplete: Collection[int] = (), versions: Versions = MappingProxyType({})
    ) -> Iterator[tuple[str, str]]:
        """(what, how it differs), for everything that does; `versions` of the contents, where some were rebuilt."""
        if not incomplete:
            for content_id, count in self.absent.items():
                yield f"content {content_id}", f"is not there, the log has {count} events of it"
        for content_id, one in self.contents.items():
            if one.partition not in incomplete:
                lsn = self.rebuilt.get(one.partition, _NOT_REBUILT).lsn
                rebuilt = lsn and one.latest_at >= (lsn, 0)
                texts = _texts_as_of(versions.get(content_id, ()), (lsn, 0)) if rebuilt else ()
                if found := one.differences(texts):
                    yield f"content {content_id}", "; ".join(found)
        for partition, whole in self.partitions.items():
            if partition not in incomplete and (found := whole.differences()):
                yield f"partition {partition}", "; ".join(found)


def _texts_as_of(versions: Sequence[Version], position: Position) -> tuple[str, ...]:
    """Empty where it is not known any more."""
    version = next((v for v in reversed(versions) if v.position < position), None)
    if version is None or not version.exists:
        return ()
    return (version.title or "", version.slug or "", version.content_type or "")

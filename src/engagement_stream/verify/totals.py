"""Redis totals against a fold of the log up to the fence that they were read at. Pure but for the reading.

A partition that was rebuilt out of PostgreSQL keeps what the rebuild counted (and compared with SQL's own sums): there
the fold begins with that, and takes the log from the rebuild's LSN on, however little the log still holds before.

Each partition's totals and each content are read in one transaction with the fence, so each carries the exact place in
the log that it stands for, whatever goes on meanwhile. The fold then takes every event before that place away; what is
right ends at zero. The next round takes what was read as it is, told or right, and folds only what lies between the two
fences. Memory grows with the contents, not with the events.
"""

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as ClientRetry

from engagement_stream.enrich.versions import Version
from engagement_stream.model.engagement import Engagement
from engagement_stream.model.position import BEGINNING, Position
from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis.errors import translated
from engagement_stream.sinks.redis.fold import COUNTERS
from engagement_stream.sinks.redis.keys import generation_tag, position_key

Tell = Callable[[int], None]
_CHUNK = 500
_SLOT = {name: COUNTERS.index(name) for name in ("play", "pause", "finish", "click")}
_UNTYPED, _MS, _TIMED = COUNTERS.index("untyped"), COUNTERS.index("ms"), COUNTERS.index("timed")
_TEXTS = ("title", "slug", "content_type")
_FEW_CONTENTS = 10_000
"""So many are read in every round; of more, only those of partitions whose fence has moved."""


def _zeros() -> "array[int]":
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
    held: "array[int]" = field(default_factory=_zeros)
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


def read_totals(settings: RedisSettings, partitions: int, totals: Totals, tell: Tell) -> None:
    """Into `totals`. Raises Retry, Fatal while Redis cannot be read."""
    totals.clear()
    client = redis.Redis.from_url(
        settings.url.get_secret_value(),
        decode_responses=True,
        socket_timeout=10.0,
        socket_connect_timeout=5.0,
        retry=ClientRetry(NoBackoff(), 1),
    )
    with translated(), client:
        for partition in range(partitions):
            _read_partition(client, settings.prefix, partition, totals, tell)


def _read_partition(client: Any, prefix: str, partition: int, totals: Totals, tell: Tell) -> None:
    """Again from its beginning when a rebuild puts another generation in place meanwhile."""
    while True:
        contents: dict[str, tuple[_State, dict[str, str]]] = {}
        generation = client.hget(position_key(prefix, partition), "generation") or ""
        place = generation_tag(prefix, partition, generation)
        state, whole = _at_once(client, position_key(prefix, partition), [place + "totals"])
        latest, same = state, state.generation == generation
        before = totals.before.partitions.get(partition)
        moved = before is None or (state.fence, state.replays_fence) != (before.fence, before.replays_fence)
        listed = moved or len(totals.before.contents) <= _FEW_CONTENTS
        keys = client.scan_iter(match=f"{_literal(place)}content:*", count=1_000) if listed else iter(())
        while same and (chunk := list(islice(keys, _CHUNK))):
            latest, hashes = _at_once(client, position_key(prefix, partition), chunk)
            same = latest.generation == generation
            for key, values in zip(chunk, hashes, strict=True):
                contents[key.removeprefix(place + "content:")] = latest, values
            tell(len(chunk))
        if same:
            break
    if before is not None and (
        totals.generations.get(partition) != generation
        or state.fence < before.fence
        or state.replays_fence < before.replays_fence
    ):
        totals.forget(partition)
    totals.generations[partition] = generation
    _note(totals, partition, state, whole[0], contents, listed=listed)
    totals.ends[partition], totals.replay_ends[partition] = latest.fence, latest.replays_fence


def _note(
    totals: Totals,
    partition: int,
    state: "_State",
    whole: dict[str, str],
    contents: Mapping[str, tuple["_State", dict[str, str]]],
    *,
    listed: bool,
) -> None:
    before = totals.before
    if state.generation:
        events = int(state.counted.partition(",")[0] or 0)
        totals.rebuilt[partition] = Rebuilt(state.lsn, state.joined_at, events, state.until, state.joined_replays_at)
    else:
        totals.rebuilt.pop(partition, None)
    totals.partitions[partition] = _sum(state, whole, state.counted, before.partitions.get(partition), (0, 0))
    totals.held += int(whole.get("events", 0))
    if not listed:
        return
    totals.seen_from[partition], totals.seen_replays_from[partition] = state.fence, state.replays_fence
    known_from = before.seen_from.get(partition, 0), before.seen_replays_from.get(partition, 0)
    for content_id, (seen, values) in contents.items():
        one = _sum(seen, values, values.get("rebuilt", ""), before.contents.get(content_id), known_from)
        one.partition = partition
        if "rebuilt" in values:  # its texts are those of the rebuild's moment: an older replay changes nothing
            one.latest_at = max(one.latest_at, (seen.lsn, 0))
        one.texts = tuple(values.get(name, "") for name in _TEXTS)
        totals.contents[content_id] = one
    for content_id, gone in before.contents.items():
        if gone.partition == partition and content_id not in contents and gone.held[0]:
            totals.absent[content_id] = gone.held[0]


@dataclass(frozen=True, slots=True)
class _State:
    fence: int
    generation: str
    lsn: int
    joined_at: int
    counted: str
    until: int
    replays_fence: int
    joined_replays_at: int


_FIELDS = (
    *("fence", "generation", "rebuilt_lsn", "rebuilt_fence", "rebuilt_totals"),
    *("rebuilt_until", "replays_fence", "rebuilt_replays"),
)


def _at_once(client: Any, position: str, keys: list[str]) -> tuple[_State, list[dict[str, str]]]:
    """Hashes and the position at one moment: MULTI lets no script in between."""
    with client.pipeline(transaction=True) as pipe:
        pipe.hmget(position, _FIELDS)
        for key in keys:
            pipe.hgetall(key)
        (fence, generation, lsn, joined_at, counted, *replays), *hashes = pipe.execute()
    numbers = [int(value or 0) for value in replays]
    return _State(
        int(fence or 0), generation or "", int(lsn or 0), int(joined_at or 0), counted or "", *numbers
    ), hashes


def _sum(state: _State, values: dict[str, str], rebuilt: str, before: Sum | None, known_from: tuple[int, int]) -> Sum:
    """Without what the round before has read, or a rebuild has counted; `known_from`: it was not there then."""
    held = array("q", [int(values.get(name, 0)) for name in COUNTERS])
    known: Sequence[int] = _zeros()
    if before is not None:
        known, known_from = before.held, (before.fence, before.replays_fence)
    elif rebuilt:
        known = [int(part) for part in rebuilt.split(",")]
    left = array("q", [now - then for now, then in zip(held, known, strict=True)])
    one = Sum(state.fence, left, replays_fence=state.replays_fence, held=held)
    one.since, one.since_replays = known_from
    if before is not None:
        one.latest, one.latest_at = before.texts, before.latest_at
    return one


def _literal(text: str) -> str:
    """For a MATCH pattern."""
    return "".join(f"\\{c}" if c in "*?[]^-\\" else c for c in text)

"""Redis totals against a fold of the log up to the fence that they were read at. Pure but for the reading.

Each partition's totals and each content are read in one transaction with the fence, so each carries the exact place in
the log that it stands for, whatever goes on meanwhile. The fold then takes every event before that place away; what is
right ends at zero. Memory grows with the contents, not with the events.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as ClientRetry

from engagement_stream.model.engagement import Engagement
from engagement_stream.model.position import BEGINNING, Position
from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis.errors import translated
from engagement_stream.sinks.redis.fold import COUNTERS
from engagement_stream.sinks.redis.keys import position_key, replays_key, tag

Tell = Callable[[int], None]
_CHUNK = 500
_SLOT = {name: COUNTERS.index(name) for name in ("play", "pause", "finish", "click")}
_UNTYPED, _MS, _TIMED = COUNTERS.index("untyped"), COUNTERS.index("ms"), COUNTERS.index("timed")
_TEXTS = ("title", "slug", "content_type")


@dataclass(slots=True)
class Sum:
    """One hash of counters as of `fence`; the fold takes away, so `left` is what is too much."""

    fence: int
    left: "array[int]"
    texts: tuple[str, ...] = ()
    latest: tuple[str, ...] = ()
    latest_at: Position = BEGINNING
    replays_fence: int = 0

    def fence_of(self, *, replayed: bool) -> int:
        return self.replays_fence if replayed else self.fence

    def take(self, event: Engagement) -> None:
        left = self.left
        left[0] -= 1
        left[_SLOT.get(event.event_type or "", _UNTYPED)] -= 1
        if event.duration_ms is not None:
            left[_MS] -= event.duration_ms
            left[_TIMED] -= 1

    def differences(self) -> list[str]:
        """Each counter that is not what the log says, and the texts."""
        found = [
            f"{name} is {abs(left):,} too {'many' if left > 0 else 'few'}"
            for name, left in zip(COUNTERS, self.left, strict=True)
            if left
        ]
        if self.latest and self.texts != self.latest:
            found.append(f"title, slug, type are {self.texts}, the log says {self.latest}")
        return found


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

    def take(self, partition: int, offset: int, event: Engagement) -> None:
        self._take(partition, offset, event, replayed=False)

    def take_replay(self, partition: int, offset: int, event: Engagement) -> None:
        """A dead letter that was sent back: counted into the same totals, behind a fence of its own."""
        self._take(partition, offset, event, replayed=True)

    def _take(self, partition: int, offset: int, event: Engagement, *, replayed: bool) -> None:
        whole = self.partitions.get(partition)
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
        elif offset < one.fence_of(replayed=replayed):
            one.take(event)
            if event.slug is not None and event.position >= one.latest_at:
                one.latest_at = event.position
                one.latest = (event.title or "", event.slug or "", event.content_type or "")

    def differences(self) -> Iterator[tuple[str, str]]:
        """(what, how it differs), for everything that does."""
        for content_id, count in self.absent.items():
            yield f"content {content_id}", f"is not there, the log has {count} events of it"
        for content_id, one in self.contents.items():
            if found := one.differences():
                yield f"content {content_id}", "; ".join(found)
        for partition, whole in self.partitions.items():
            if found := whole.differences():
                yield f"partition {partition}", "; ".join(found)


def read_totals(settings: RedisSettings, partitions: int, tell: Tell) -> Totals:
    """Raises Retry, Fatal while Redis cannot be read."""
    totals = Totals()
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
    return totals


def _read_partition(client: Any, prefix: str, partition: int, totals: Totals, tell: Tell) -> None:
    place = tag(prefix, partition)
    fences, whole = _with_fences(client, prefix, partition, [place + "totals"])
    totals.seen_from[partition], totals.seen_replays_from[partition] = fences
    totals.partitions[partition] = _sum(fences, whole[0])
    keys = client.scan_iter(match=f"{_literal(place)}content:*", count=1_000)
    while chunk := list(islice(keys, _CHUNK)):
        fences, hashes = _with_fences(client, prefix, partition, chunk)
        for key, values in zip(chunk, hashes, strict=True):
            one = _sum(fences, values)
            one.texts = tuple(values.get(name, "") for name in _TEXTS)
            totals.contents[key.removeprefix(place + "content:")] = one
        tell(len(chunk))


def _with_fences(
    client: Any, prefix: str, partition: int, keys: list[str]
) -> tuple[tuple[int, int], list[dict[str, str]]]:
    """Hashes and both fences at one moment: MULTI lets no script in between."""
    with client.pipeline(transaction=True) as pipe:
        pipe.hget(position_key(prefix, partition), "fence")
        pipe.hget(replays_key(prefix, partition), "fence")
        for key in keys:
            pipe.hgetall(key)
        fence, replays_fence, *hashes = pipe.execute()
    return (int(fence or 0), int(replays_fence or 0)), hashes


def _sum(fences: tuple[int, int], values: dict[str, str]) -> Sum:
    return Sum(fences[0], array("q", [int(values.get(name, 0)) for name in COUNTERS]), replays_fence=fences[1])


def _literal(text: str) -> str:
    """For a MATCH pattern."""
    return "".join(f"\\{c}" if c in "*?[]^-\\" else c for c in text)

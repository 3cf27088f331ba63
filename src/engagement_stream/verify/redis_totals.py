"""The reading of Redis totals, each with the fence that it stands for.

Each partition's totals and each content are read in one transaction with the fence, so each carries the exact place in
the log that it stands for, whatever goes on meanwhile.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as ClientRetry

from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis.errors import translated
from engagement_stream.sinks.redis.fold import COUNTERS
from engagement_stream.sinks.redis.keys import generation_tag, position_key
from engagement_stream.verify.sum import Sum, zeros
from engagement_stream.verify.totals import Rebuilt, Totals

Tell = Callable[[int], None]
_CHUNK = 500
_TEXTS = ("title", "slug", "content_type")
_FEW_CONTENTS = 10_000
"""So many are read in every round; of more, only those of partitions whose fence has moved."""


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
    known: Sequence[int] = zeros()
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

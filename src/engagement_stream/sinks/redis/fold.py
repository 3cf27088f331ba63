"""From a batch of events to what it adds up to: pure, and per content instead of per event.

The result depends on nothing but the events, so a log cut into any batches adds up to the same (property-tested).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Annotated

import msgspec

from engagement_stream.sinks.redis.keys import BUCKET_S, order_key

COUNTERS = ("events", "play", "pause", "finish", "click", "untyped", "ms", "timed")
"""Order in which counters travel to the script; `apply.lua` names the same."""
_EVENTS, _UNTYPED, _MS, _TIMED = 0, 5, 6, 7
_SLOT_OF_TYPE: dict[str | None, int] = {name: COUNTERS.index(name) for name in ("play", "pause", "finish", "click")}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BUCKET_US = BUCKET_S * 1_000_000
_BY_TIME_AND_ID = itemgetter(0, 1)
_Natural = Annotated[int, msgspec.Meta(ge=0)]


class RedisEvent(msgspec.Struct, frozen=True, gc=False):
    """The part of an Engagement that is kept here; what it leaves out is skipped, not decoded.

    The bounds are those within which the script's arithmetic (doubles) and the order keys are exact.
    """

    event_id: Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
    content_id: str | None
    user_id: str | None
    event_type: str | None
    event_ts: Annotated[datetime, msgspec.Meta(tz=True)]
    duration_ms: Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)] | None
    device: str | None
    slug: str | None
    title: str | None
    content_type: str | None
    engagement_pct: float | None
    position: tuple[_Natural, _Natural]
    commit_ts_us: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    source: str


decode_event = msgspec.json.Decoder(RedisEvent).decode
"""bytes -> RedisEvent; raises msgspec.MsgspecError."""

_pack = msgspec.msgpack.Encoder().encode
_recent_json = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Tally:
    """One content's share of a batch."""

    counters: list[int] = field(default_factory=lambda: [0] * len(COUNTERS))
    latest: RedisEvent | None = None
    """The event whose content version is the newest."""
    users: set[str] = field(default_factory=set)
    recent: list[tuple[int, int, RedisEvent]] = field(default_factory=list)
    window: dict[int, list[int]] = field(default_factory=dict)
    """Bucket start -> [events, milliseconds]."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch adds up to: `payload` for the script, the rest for receipt and metrics."""

    payload: bytes
    records: int
    future: int
    commit_ts_us: list[int]


def floor_bucket(ts_us: int) -> int:
    """Start of the bucket that this moment (microseconds) lies in, in seconds."""
    return ts_us // _BUCKET_US * BUCKET_S


def fold(events: list[RedisEvent], *, dead_letters: int, recent_events: int, window_s: int) -> Folded:
    """Add up a batch. `window_s` only leaves out early what the script would drop anyway."""
    tallies: dict[str, _Tally] = {}
    live_commit_ts_us: list[int] = []
    totals = [0] * len(COUNTERS)
    no_content = future = 0
    clock_us = max((event.commit_ts_us for event in events), default=0)
    window_from = floor_bucket(clock_us) - window_s
    for event in events:
        commit_us = event.commit_ts_us
        since = event.event_ts - _EPOCH
        ts_us = since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
        if ts_us > commit_us:
            ts_us = commit_us
            future += 1
        if event.source == "live":
            live_commit_ts_us.append(commit_us)
        content_id, duration_ms = event.content_id, event.duration_ms
        if content_id is None:
            no_content += 1
            tally, counters = None, totals
        else:
            tally = tallies.get(content_id)
            if tally is None:
                tally = tallies[content_id] = _Tally()
            counters = tally.counters
        counters[_EVENTS] += 1
        counters[_SLOT_OF_TYPE.get(event.event_type, _UNTYPED)] += 1
        if duration_ms is not None:
            counters[_MS] += duration_ms
            counters[_TIMED] += 1
        if tally is None:
            continue
        if event.user_id is not None:
            tally.users.add(event.user_id)
        if event.slug is not None and (tally.latest is None or event.position >= tally.latest.position):
            tally.latest = event
        tally.recent.append((ts_us, event.event_id, event))
        bucket = ts_us // _BUCKET_US * BUCKET_S
        if bucket > window_from:
            seen = tally.window.get(bucket)
            if seen is None:
                seen = tally.window[bucket] = [0, 0]
            seen[0] += 1
            seen[1] += duration_ms or 0
    for tally in tallies.values():
        totals = [total + part for total, part in zip(totals, tally.counters, strict=True)]
    payload = _pack(
        (
            clock_us,
            (totals, no_content, future, dead_letters),
            [_content(content_id, tally, recent_events) for content_id, tally in tallies.items()],
        )
    )
    return Folded(payload, len(events), future, live_commit_ts_us)


def _content(content_id: str, tally: _Tally, recent_events: int) -> tuple[object, ...]:
    recent = tally.recent
    if len(recent) > recent_events:
        recent.sort(key=_BY_TIME_AND_ID)
        del recent[:-recent_events]
    return (
        content_id,
        tally.counters,
        () if tally.latest is None else _description(tally.latest),
        list(tally.users),
        [part for ts_us, event_id, event in recent for part in (0, order_key(ts_us, event_id) + recent_json(event))],
        [(bucket, count, ms) for bucket, (count, ms) in tally.window.items()],
    )


def _description(event: RedisEvent) -> tuple[str, str, str, str]:
    lsn, index = event.position
    return f"{lsn:016x}{index:016x}", event.title or "", event.slug or "", event.content_type or ""


def recent_json(event: RedisEvent) -> str:
    """What is kept of one of the latest events, behind its order key."""
    return _recent_json(
        (
            event.event_id,
            event.event_type,
            event.event_ts,
            event.user_id,
            event.device,
            event.duration_ms,
            event.engagement_pct,
        )
    ).decode()

"""What one person does with one item: play, pause, play, finish; or clicks. Pure."""

import random
from typing import NamedTuple

from engagement_stream.generate.population import Content
from engagement_stream.generate.words import ContentType


class Step(NamedTuple):
    """One event of a session. `duration_ms` is what was played since the last `play`, so that sums are right."""

    at_ms: int
    event_type: str
    duration_ms: int | None
    position_ms: int


def _pool(**shares: int) -> tuple[str, ...]:
    return tuple(device for device, share in shares.items() for _ in range(share))


DEVICES: dict[ContentType, tuple[str, ...]] = {
    "podcast": _pool(ios=36, android=34, web=10, smart_speaker=12, car=8),
    "newsletter": _pool(ios=33, android=27, web=40),
    "video": _pool(ios=24, android=28, web=22, tv=26),
}
"""Picking one at random gives the share of each."""


def plan(content: Content, rng: random.Random) -> list[Step]:
    """A session's steps in time order, the first at 0."""
    if content.content_type == "newsletter" or rng.random() < 0.03:
        return _clicks(rng)
    return _plays(content.play_s * 1000, rng)


def _clicks(rng: random.Random) -> list[Step]:
    steps = [Step(0, "click", None, 0)]
    while rng.random() < 0.35 and len(steps) < 5:
        steps.append(Step(steps[-1].at_ms + 2_000 + int(rng.random() * 88_000), "click", None, 0))
    return steps


def _plays(whole_ms: int, rng: random.Random) -> list[Step]:
    chance = rng.random()
    steps = [_play(0, 0, rng)]
    if chance < 0.12:
        return steps  # closed without a word
    leaves = chance < 0.45
    pauses = 1 + (chance < 0.2) if leaves else (chance > 0.7) + (chance > 0.93)
    at_ms = position_ms = 0
    for number in range(1, pauses + 1):
        stretch_ms = 1 + int((whole_ms - position_ms) * rng.random() ** 1.4 * 0.95)
        at_ms += stretch_ms
        position_ms += stretch_ms
        steps.append(Step(at_ms, "pause", stretch_ms, position_ms))
        if leaves and number == pauses:
            return steps
        at_ms += 2_000 + int(rng.random() * 598_000)
        steps.append(_play(at_ms, position_ms, rng))
    rest_ms = int((whole_ms - position_ms) * (0.96 + 0.04 * rng.random()))  # some skip the credits
    steps.append(Step(at_ms + rest_ms, "finish", rest_ms, position_ms + rest_ms))
    return steps


def _play(at_ms: int, position_ms: int, rng: random.Random) -> Step:
    return Step(at_ms, "play", None if rng.random() < 0.9 else 0, position_ms)  # old apps send 0

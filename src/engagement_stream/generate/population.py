"""Who there is: content with shifting popularity, and users, some of them busier than others."""

import math
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from uuid import UUID, uuid5

from engagement_stream.generate.words import ContentType, name, retitled

DAY_US = 86_400_000_000
CATALOGUE_SEED = 20_250_801
"""Fixed, so that every run finds the content and the users that earlier runs made."""

_NAMESPACE = UUID("6f0e2a54-6c1b-5a53-9f0e-3f1f0a3a8c11")  # ours: one slug has one id in every run
_SHARES: tuple[tuple[ContentType, int], ...] = (("podcast", 120), ("newsletter", 80), ("video", 120))
_OLDEST_DAYS = 400
_MAX_PLAY_S = 12 * 3600  # a longer length in the table is somebody's mistake; nobody listens that long
_LENGTHS_S: dict[ContentType, tuple[int, int]] = {
    "podcast": (480, 5400),
    "newsletter": (60, 420),
    "video": (45, 1800),
}


@dataclass(frozen=True, slots=True)
class Content:
    """A row of `content`, and what only the generator knows of it."""

    id: UUID
    slug: str
    title: str
    content_type: ContentType
    length_seconds: int | None
    publish_ts_us: int
    appeal: float
    """Lasting popularity, Zipf-like over the catalogue."""
    play_s: int
    """How long it really plays, also where `length_seconds` is unknown or 0."""
    id_bytes: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id_bytes", self.id.bytes)


def catalogue(now_us: int, seed: int = CATALOGUE_SEED, *, oldest_days: int = _OLDEST_DAYS) -> list[Content]:
    """The first few hundred items; only their publication follows `now_us`: over the `oldest_days` before it."""
    rng = random.Random(seed)
    types = [content_type for content_type, count in _SHARES for _ in range(count)]
    rng.shuffle(types)
    return [
        # more new than old
        _make(
            content_type, rank + 1, rank, now_us - int(max(oldest_days, _OLDEST_DAYS) * DAY_US * rng.random() ** 2), rng
        )
        for rank, content_type in enumerate(types)
    ]


def _make(content_type: ContentType, number: int, rank: int, publish_ts_us: int, rng: random.Random) -> Content:
    slug, title = name(content_type, number, rng)
    shortest_s, longest_s = _LENGTHS_S[content_type]
    play_s = shortest_s + int((longest_s - shortest_s) * rng.random() ** 1.7)
    return Content(
        id=uuid5(_NAMESPACE, slug),
        slug=slug,
        title=title,
        content_type=content_type,
        length_seconds=_known_length(content_type, play_s, rng),
        publish_ts_us=publish_ts_us,
        appeal=1 / (rank + 2.7),  # Zipf-Mandelbrot: a head, but no single item that is everything
        play_s=play_s,
    )


def _known_length(content_type: ContentType, play_s: int, rng: random.Random) -> int | None:
    chance = rng.random()
    if chance < 0.02:
        return 0  # an importer that writes 0 where it knows nothing
    unknown = 0.9 if content_type == "newsletter" else 0.1
    return None if chance < 0.02 + unknown else play_s


def stored(content: Content, row_id: UUID, title: str, length_seconds: int | None, publish_ts_us: int) -> Content:
    """The item as the table has it; a known length is how long it plays."""
    play_s = min(length_seconds, _MAX_PLAY_S) if length_seconds and length_seconds > 0 else content.play_s
    return replace(
        content,
        id=row_id,
        title=title,
        length_seconds=length_seconds,
        publish_ts_us=publish_ts_us,
        play_s=play_s,
    )


def published(number: int, now_us: int, rng: random.Random) -> Content:
    """A new item, out now; `number` tells it from every other."""
    content_type = rng.choice(_SHARES)[0]
    return _make(content_type, number, rng.randrange(300), now_us, rng)


def edited(content: Content, rng: random.Random) -> Content:
    """The item after an editor's change: its title, its length, or both."""
    chance = rng.random()
    title = retitled(content.title, rng) if chance < 0.6 else content.title
    if chance < 0.4 or content.content_type == "newsletter":
        return replace(content, title=title if title != content.title else retitled(content.title, rng))
    shortest_s, _ = _LENGTHS_S[content.content_type]
    play_s = min(_MAX_PLAY_S, max(shortest_s, round(content.play_s * rng.uniform(0.8, 1.2))))
    return replace(content, title=title, play_s=play_s, length_seconds=play_s)


def pull(content: Content, at_us: int) -> float:
    """How strongly the item draws people at that time: lasting appeal, freshness, and a wave of its own."""
    age_us = at_us - content.publish_ts_us
    if age_us < 0:
        return 0.0
    luck = zlib.crc32(content.slug.encode())
    period_us = (1 + (luck & 7)) * DAY_US
    wave = math.sin(math.tau * (at_us / period_us + (luck >> 8) / 2**24))
    return content.appeal * math.exp(1.3 * wave) * (1 + 6 * math.exp(-age_us / (3 * DAY_US)))


def popularity(contents: Sequence[Content], at_us: int) -> list[float]:
    """Cumulative weights for `random.choices`; before anything was published all appeal counts."""
    weights = [pull(content, at_us) for content in contents]
    return list(accumulate(weights if any(weights) else (content.appeal for content in contents)))


def users(count: int = 20_000, seed: int = CATALOGUE_SEED) -> list[bytes]:
    """UUIDs (16 bytes, version 4), the same in every run."""
    rng = random.Random(seed ^ 0x5EED)
    return [UUID(int=rng.getrandbits(128), version=4).bytes for _ in range(count)]

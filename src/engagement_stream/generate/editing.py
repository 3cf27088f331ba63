"""Now and then an item is published or edited, so that "as of the event" means something. Pure."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from engagement_stream.generate.population import Content, edited, published


class Change(NamedTuple):
    """What to write, and all content after it; nothing at all on most occasions."""

    new: Content | None = None
    edited: Content | None = None
    contents: list[Content] | None = None


class Editor:
    """Changes come at random moments, `per_min` of them a minute on average; 0 for none."""

    def __init__(self, seed: int, per_min: float) -> None:
        self._rng = random.Random(seed ^ 0xED17)
        self._per_s = per_min / 60
        self._next_s: float | None = None

    def due(self, now_s: float, contents: Sequence[Content], now_us: int) -> Change:
        """The change that is due at `now_s` (a steady clock), if one is."""
        if self._per_s <= 0:
            return Change()
        if self._next_s is None:
            self._next_s = now_s + self._rng.expovariate(self._per_s)
        if now_s < self._next_s:
            return Change()
        self._next_s = now_s + self._rng.expovariate(self._per_s)
        if self._rng.random() < 0.25:
            item = published(self._rng.randrange(1_000, 1_000_000_000), now_us, self._rng)
            return Change(new=item, contents=[*contents, item])
        place = int(len(contents) * self._rng.random() ** 2)  # rather the popular ones
        item = edited(contents[place], self._rng)
        return Change(edited=item, contents=[*contents[:place], item, *contents[place + 1 :]])

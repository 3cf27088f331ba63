"""When events happen: nights are quiet, weekends busier, summers calmer, and each year has more than the last. Pure."""

import math
import zlib
from collections.abc import Iterator
from itertools import accumulate

_HOUR_US = 3_600_000_000
_BUCKET_US = _HOUR_US // 6
_BY_HOUR = (22, 14, 9, 7, 7, 11, 24, 48, 62, 58, 52, 54, 63, 60, 55, 54, 60, 72, 85, 96, 100, 94, 70, 42)  # UTC
_DAYS_A_YEAR = 365.25
_GROWTH_A_YEAR = 1.6
_SEASON = 0.1  # this much more than on average in the middle of January, less in July
_CHANCE = 0.03  # at most this much more or less on any one day
_BY_WEEKDAY = (0.95, 0.95, 0.97, 1.0, 1.08, 1.15, 1.1)  # Monday first


def load(at_us: int) -> float:
    """Relative traffic at that time (microseconds since 1970, UTC), between the hours' values linear.

    Only ratios mean something.
    """
    hours, rest_us = divmod(at_us, _HOUR_US)
    here, there = _BY_HOUR[hours % 24], _BY_HOUR[(hours + 1) % 24]
    weekday = (hours // 24 + 3) % 7  # 1970 began on a Thursday
    return (here + (there - here) * rest_us / _HOUR_US) * _BY_WEEKDAY[weekday] * _trend(hours // 24)


def _trend(day: int) -> float:
    """What months look like: growth, the season, and some days that are better than others."""
    years = day / _DAYS_A_YEAR
    season = 1 + _SEASON * math.cos(math.tau * (years - 15 / _DAYS_A_YEAR))
    luck = zlib.crc32(day.to_bytes(8, "big", signed=True)) / 0xFFFFFFFF
    growth = math.exp(math.log(_GROWTH_A_YEAR) * (years - 56))
    return growth * season * (1 - _CHANCE + 2 * _CHANCE * luck)


def slots(start_us: int, end_us: int, total: int) -> Iterator[int]:
    """Exactly `total` times within [start, end), never going back, as dense as `load` says."""
    starts = range(start_us, end_us, _BUCKET_US)
    ends = [min(at_us + _BUCKET_US, end_us) for at_us in starts]
    weights = accumulate(load(at_us) * (until_us - at_us) for at_us, until_us in zip(starts, ends, strict=True))
    cumulative = list(weights)
    done = 0
    for at_us, until_us, weight in zip(starts, ends, cumulative, strict=True):
        due = total if until_us == end_us else int(total * weight / cumulative[-1])
        count, done = due - done, due
        width_us = until_us - at_us
        for number in range(count):
            yield at_us + width_us * (2 * number + 1) // (2 * count)


def even(start_us: int, end_us: int, total: int) -> Iterator[int]:
    """Exactly `total` times within [start, end), evenly spread."""
    width_us = end_us - start_us
    for number in range(total):
        yield start_us + width_us * number // total

"""What there is to do: days that differ, cut into what one statement inserts. Pure.

A day is complete when both sides have the same events: as many, with the same sums over their ids. The sums are
three (of the ids, of their squares, and the exclusive or), each modulo or by bits, so both databases can form them
in one pass without ordering anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

_INSERTS_PER_DAY = 8
"""Each one reads the day's ids in the target again, so that a huge day is not cut into more."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How rows are cut: `chunk_rows` into a staging table, `loads` of them at a time, `rows_per_insert` a statement."""

    chunk_rows: int
    loads: int
    rows_per_insert: int


FAST = Cut(chunk_rows=125_000, loads=4, rows_per_insert=500_000)
"""A load takes seconds on the real service. DuckDB writes chunks of more than 122,880 rows past its log."""
FAST_HERE = Cut(chunk_rows=125_000, loads=2, rows_per_insert=500_000)
"""For an emulator without live traffic: one loads while the other is made, and more would only take memory."""
GENTLE = Cut(chunk_rows=62_500, loads=1, rows_per_insert=62_500)
"""For an emulator with live traffic: it does one thing at a time, and live appends wait for it."""
_TURN_S = 2.0
_LOADS_PER_INSERT = 100


def at_rate(cut: Cut, rows_per_s: float | None) -> Cut:
    """Chunks of two seconds at most: with large ones a low rate would be bursts and long pauses."""
    if rows_per_s is None:
        return cut
    rows = max(round(rows_per_s * _TURN_S), cut.rows_per_insert // _LOADS_PER_INSERT)
    return Cut(min(cut.chunk_rows, rows), cut.loads, cut.rows_per_insert)


@dataclass(frozen=True, slots=True)
class Sums:
    """Of the events of a day."""

    rows: int = 0
    ids: int = 0
    squares: int = 0
    exclusive_or: int = 0


@dataclass(frozen=True, slots=True)
class Day:
    """One day on both sides."""

    day: date
    source: Sums
    target: Sums

    @property
    def complete(self) -> bool:
        """Nothing is missing, nothing is too much."""
        return self.source == self.target

    @property
    def missing(self) -> int:
        """At least so many rows; more where the target holds others than the source."""
        return max(self.source.rows - self.target.rows, 0)


@dataclass(frozen=True, slots=True)
class Unit:
    """Days `first` to `last` that are read in one go; `rows_per_insert`: how many go into one statement."""

    first: date
    last: date
    rows: int
    rows_per_insert: int


def days(source: Mapping[date, Sums], target: Mapping[date, Sums]) -> list[Day]:
    """All days that either side has events of, in order."""
    return [Day(day, source.get(day, Sums()), target.get(day, Sums())) for day in sorted({*source, *target})]


def units(planned: list[Day], rows_per_insert: int = FAST.rows_per_insert) -> list[Unit]:
    """Small days that follow each other go together; a day that is complete, or that the source lacks, is none."""
    found: list[Unit] = []
    for day in planned:
        if day.complete or not day.source.rows:
            continue
        rows = day.source.rows
        last = found[-1] if found else None
        if last and last.last + timedelta(days=1) == day.day and last.rows + rows <= rows_per_insert:
            found[-1] = Unit(last.first, day.day, last.rows + rows, rows_per_insert)
        else:
            found.append(Unit(day.day, day.day, rows, max(rows_per_insert, -(-rows // _INSERTS_PER_DAY))))
    return found

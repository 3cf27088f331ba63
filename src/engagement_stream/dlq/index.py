"""The queue's index: everything about every letter but its payload, in a temporary SQLite file.

The queue lies in Kafka and nowhere else; this can be made anew from it at any time. On disk, so that a million letters
take as much memory as ten.
"""

import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from engagement_stream.dlq.letter import Filter, Letter
from engagement_stream.dlq.mark import Mark

_CACHE_KIB = 8_192
_COLUMNS = (
    "seq, name, stage, topic, partition, offset, reason, at_ms, part, off, size, again, origin, state, handled_ms, by"
)
_ADD = """
insert or ignore into letter (name, stage, topic, partition, offset, reason, at_ms, part, off, size, again, origin)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
Found = tuple[str, str, str, int, int, str, int, int, int, int, int, str]
"""A letter as it was read: the values of `_ADD`."""
Counts = dict[tuple[str, str, str], int]
"""(stage, reason, state) -> letters."""


class Index:
    """Thread-safe; gone when it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._directory = tempfile.TemporaryDirectory(prefix="engagement-dlq-")
        self._file = sqlite3.connect(
            Path(self._directory.name) / "index.sqlite", isolation_level=None, check_same_thread=False
        )
        for pragma in ("journal_mode = off", "synchronous = off", "temp_store = file"):
            self._file.execute(f"pragma {pragma}")
        self._file.execute(f"pragma cache_size = -{_CACHE_KIB}")
        self._file.executescript(files(__package__).joinpath("index.sql").read_text())

    def close(self) -> None:
        with self._lock:
            self._file.close()
            self._directory.cleanup()

    def clear(self) -> None:
        """The queue was made anew."""
        with self._lock:
            self._file.execute("delete from letter")

    def add(self, found: Sequence[Found]) -> None:
        """Letters in the order they lie; one that is known stays as it is."""
        with self._lock, self._file:
            self._file.execute("begin")
            self._file.executemany(_ADD, found)

    def mark(self, marks: Iterable[tuple[str, Mark]]) -> None:
        """Name -> what became of it."""
        with self._lock, self._file:
            self._file.execute("begin")
            self._file.executemany(
                "update letter set state = ?, handled_ms = ?, by = ?, operation = ? where name = ?",
                ((mark.state, mark.at_ms, mark.by, mark.operation, name) for name, mark in marks),
            )

    def newest(self) -> int:
        """The greatest seq."""
        return int(self._one("select coalesce(max(seq), 0) from letter"))

    def count(self, wanted: Filter, *, up_to: int | None = None) -> int:
        """How many letters fit; `up_to`: only those that were known then."""
        condition, values = wanted.condition()
        return int(self._one(f"select count(*) from letter where {condition} and seq <= ?", *values, _bound(up_to)))  # noqa: S608 - conditions of ours

    def by_name(self, names: Sequence[str]) -> list[Letter]:
        """Those that are known."""
        marks = ",".join("?" * len(names))
        return self._letters(f"name in ({marks}) order by seq", names)

    def in_order(self, wanted: Filter, *, after: int, up_to: int, limit: int) -> list[Letter]:
        """The next letters in the order they lie, behind seq `after`."""
        condition, values = wanted.condition()
        return self._letters(
            f"{condition} and seq > ? and seq <= ? order by seq limit ?", [*values, after, up_to, limit]
        )

    def newest_first(self, wanted: Filter, *, before: tuple[int, str] | None, limit: int) -> list[Letter]:
        """A page; `before` is (at_ms, name) of the last letter of the page before."""
        condition, values = wanted.condition()
        if before is not None:
            condition, values = f"{condition} and (at_ms, name) < (?, ?)", [*values, *before]
        return self._letters(f"{condition} order by at_ms desc, name desc limit ?", [*values, limit])

    def handled_by(self, operation: str, names: Sequence[str]) -> int:
        """How many of these an operation has marked."""
        marks = ",".join("?" * len(names))
        return int(
            self._one(f"select count(*) from letter where name in ({marks}) and operation = ?", *names, operation)  # noqa: S608 - as above
        )

    def counts(self) -> Counts:
        """Over everything."""
        return {
            (stage, reason, state): count
            for stage, reason, state, count in self._rows(
                "select stage, reason, state, count(*) from letter group by stage, reason, state"
            )
        }

    def oldest_open_ms(self) -> int | None:
        """When the oldest open letter came."""
        found = self._one("select min(at_ms) from letter where state = 'open'")
        return None if found is None else int(found)

    def _letters(self, rest: str, values: Sequence[object]) -> list[Letter]:
        return [Letter(*row) for row in self._rows(f"select {_COLUMNS} from letter where {rest}", *values)]  # noqa: S608 - as above

    def _one(self, query: str, *values: object) -> Any:
        return next(self._rows(query, *values))[0]

    def _rows(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with self._lock:
            return iter(self._file.execute(query, values).fetchall())


def _bound(seq: int | None) -> int:
    return (1 << 62) if seq is None else seq

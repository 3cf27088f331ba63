"""The spill: digests of every place in a temporary SQLite file, so that memory does not grow with the rows.

Rows are appended without an index, indexed once by a sort on disk, and compared by joins in the order of ids.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import islice
from types import TracebackType
from typing import Any, Self

PLACES = ("raw", "enriched", "bigquery", "http")
_CACHE_KIB = 16_384
_CHUNK = 10_000


class Ledger:
    """The tables of `ledger.sql`; gone when it is closed."""

    def __init__(self) -> None:
        # Without a name: SQLite unlinks the file at once, so that nothing is left of a process that is killed.
        self._file = sqlite3.connect("", isolation_level=None)
        # Nothing here outlives the process: no journal, no sync.
        for pragma in ("journal_mode = off", "synchronous = off", "locking_mode = exclusive", "temp_store = file"):
            self._file.execute(f"pragma {pragma}")
        self._file.execute(f"pragma cache_size = -{_CACHE_KIB}")
        self._file.executescript(files(__package__).joinpath("ledger.sql").read_text())
        self._file.execute("begin")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def add(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Append rows; what is there already stays as it is. `table` is one of ours."""
        self._insert("ignore", table, rows)

    def put(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """The same, but the newer row is kept."""
        self._insert("replace", table, rows)

    def index(self) -> None:
        """Everything is in: sort it by id."""
        for table in PLACES:
            self._file.execute(f"create index if not exists {table}_id on {table} (id)")
        self._file.execute("analyze")

    def rows(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, as they come."""
        return iter(self._file.execute(query, values))

    def chunks(self, query: str, *values: object) -> Iterator[list[tuple[Any, ...]]]:
        """The same, many at a time."""
        rows = self.rows(query, *values)
        while chunk := list(islice(rows, _CHUNK)):
            yield chunk

    def value(self, query: str, *values: object) -> int:
        """The first number of the first row."""
        return int(self._file.execute(query, values).fetchone()[0] or 0)

    def ids(self, query: str, *values: object) -> Iterator[int]:
        """The first column."""
        return (int(row[0]) for row in self._file.execute(query, values))

    def run(self, statement: str, *values: object) -> None:
        """A statement that answers nothing."""
        self._file.execute(statement, values)

    def wait_for(self, ids: Sequence[int]) -> None:
        """Look at these again in the next round."""
        self.add("waiting", [(i,) for i in ids])

    def _insert(self, conflict: str, table: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            places = ",".join("?" * len(rows[0]))
            self._file.executemany(f"insert or {conflict} into {table} values ({places})", rows)  # noqa: S608 - names of ours

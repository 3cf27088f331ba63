"""The reader: rows of the snapshot as Arrow, by binary COPY, decoded in C; no Python object per row."""

from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import adbc_driver_postgresql.dbapi
import pyarrow as pa
from adbc_driver_manager import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from engagement_stream.backfill.queries import QUERIES
from engagement_stream.backfill.snapshot import APPLICATION, HAS_TRANSACTION_TIMEOUT, session_options
from engagement_stream.errors import Retry
from engagement_stream.settings import PostgresSettings

_BATCH_BYTES = 8 << 20
COLUMNS = pa.schema(
    [
        ("event_id", pa.int64()),
        ("content_id", pa.string()),
        ("user_id", pa.string()),
        ("event_type", pa.string()),
        ("event_ts", pa.timestamp("us", "UTC")),
        ("duration_ms", pa.int64()),
        ("device", pa.string()),
        ("raw_payload", pa.string()),
        ("commit_ts", pa.timestamp("us", "UTC")),
    ]
)
"""What a batch holds. `commit_ts`: when the row's transaction was committed, NULL where that is not known any more."""


class Reader:
    """A session that has joined a snapshot. `version` is the server's; `commit_times`: whether it keeps them."""

    def __init__(self, postgres: PostgresSettings, snapshot: str, *, version: int, commit_times: bool) -> None:
        self._commit_ts = "pg_xact_commit_timestamp(xmin)" if commit_times else "NULL::timestamptz"
        url = postgres.database_url.get_secret_value()
        theirs = str(conninfo_to_dict(url).get("options") or "")
        target = make_conninfo(
            url, options=f"{theirs} {session_options()}".strip(), application_name=APPLICATION, connect_timeout=10
        )
        self._connection: Any = None
        try:
            self._connection = adbc_driver_postgresql.dbapi.connect(target, autocommit=True)
            self._execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            if version >= HAS_TRANSACTION_TIMEOUT:
                self._execute("SET LOCAL transaction_timeout = 0")
        except Error as error:
            self.close()
            raise _retry(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def rows(self, since: datetime, until: datetime) -> Iterator[pa.RecordBatch]:
        """Events of [since, until) in batches of some 8 MB, each as COLUMNS. Raises Retry."""
        return self._read(since, until, "")

    def ordered_rows(
        self, since: datetime, until: datetime, after_id: int | None, limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The same in the order of their ids, those behind `after_id` only, `limit` at most."""
        behind = "" if after_id is None else f" AND id > {after_id}"
        return self._read(since, until, f"{behind} ORDER BY id" + ("" if limit is None else f" LIMIT {limit}"))

    def _read(self, since: datetime, until: datetime, rest: str) -> Iterator[pa.RecordBatch]:
        query = QUERIES["read"].format(commit_ts=self._commit_ts, since=since.isoformat(), until=until.isoformat())
        query += rest
        with self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)})
            try:
                cursor.execute(query)
                for batch in cursor.fetch_record_batch():
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=COLUMNS)
            except Error as error:
                raise _retry(error) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)


def _retry(error: Error) -> Retry:
    return Retry(f"PostgreSQL: {' '.join(str(error).split())[:300]}")

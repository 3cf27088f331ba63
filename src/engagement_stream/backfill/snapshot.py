"""One view of the source for a whole run: a REPEATABLE READ transaction whose snapshot others can join."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import dict_row

from engagement_stream.backfill.dates import DayRange
from engagement_stream.backfill.plan import Sums
from engagement_stream.backfill.queries import QUERIES
from engagement_stream.capture.connect import SESSION_SETTINGS, translated
from engagement_stream.capture.values import instant
from engagement_stream.crashpoint import crash_point
from engagement_stream.model.change import ContentRow
from engagement_stream.settings import PostgresSettings

_CONNECT_TIMEOUT_S = 10
_TYPICAL_ROW_BYTES = 250
"""Where the table was never analyzed."""
APPLICATION = "engagement-backfill"
HAS_TRANSACTION_TIMEOUT = 170_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`name` is what SET TRANSACTION SNAPSHOT takes; `today` is the database's day in UTC."""

    connection: psycopg.Connection[dict[str, Any]]
    name: str
    commit_times: bool
    """Whether the server keeps when each row's transaction was committed."""
    today: date

    @property
    def version(self) -> int:
        """The server's, as 180001."""
        return self.connection.info.server_version

    def days(self, wanted: DayRange, after_id: int | None = None) -> dict[date, Sums]:
        """Day -> sums over its events, or over those behind `after_id` only."""
        rows = self._rows("days", {"since": wanted.since, "until": wanted.until, "after_id": after_id})
        return {
            row["day"]: Sums(row["rows"], int(row["ids"]), int(row["squares"]), row["exclusive_or"]) for row in rows
        }

    def row_bytes(self) -> int:
        """About what an event takes."""
        rows = self._rows("row_bytes")
        return int(rows[0]["row_bytes"]) if rows else _TYPICAL_ROW_BYTES

    def contents(self) -> Iterator[ContentRow]:
        """The content table, with its values as capture would write them."""
        for row in self._rows("content"):
            published = instant(row["publish_ts"].encode())[1:-1].decode()
            yield ContentRow(
                row["id"], row["slug"], row["title"], published, row["content_type"], row["length_seconds"]
            )

    def _rows(self, query: str, values: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        with translated():
            return self.connection.execute(QUERIES[query], values).fetchall()


@contextmanager
def take_snapshot(postgres: PostgresSettings) -> Iterator[Snapshot]:
    """Everything committed before this call is in it. Raises Retry."""
    with translated():
        connection = connect(postgres, dict_row)
    with connection:
        crash_point("backfill.before_snapshot")
        with translated():
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if connection.info.server_version >= HAS_TRANSACTION_TIMEOUT:
                connection.execute("SET LOCAL transaction_timeout = 0")
            row = connection.execute(QUERIES["export"]).fetchone()
        crash_point("backfill.after_snapshot")
        assert row is not None
        yield Snapshot(connection, row["snapshot"], row["commit_times"], row["today"])


def connect(postgres: PostgresSettings, rows: Any) -> psycopg.Connection[Any]:
    """A session of ours in autocommit mode, with the settings that capture's text forms rest on."""
    return psycopg.connect(
        postgres.database_url.get_secret_value(),
        autocommit=True,
        row_factory=rows,
        options=session_options(),
        application_name=APPLICATION,
        client_encoding="UTF8",
        connect_timeout=_CONNECT_TIMEOUT_S,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
    )


def session_options() -> str:
    """As libpq's `options` takes them."""
    return " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items())

"""The ordinary session with the source: what is there, what blocks, what has to be ended or dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from engagement_stream.capture.connect import Client, translated
from engagement_stream.capture.pgoutput import Column, Relation
from engagement_stream.capture.queries import QUERIES
from engagement_stream.capture.tables import CONTENT, EVENTS, misfit
from engagement_stream.errors import Fatal, Retry
from engagement_stream.model.change import WATERMARK_PREFIX
from engagement_stream.model.position import parse_lsn

OLDEST_VERSION = 140_000  # pgoutput passes logical messages on since 14
_STATEMENT_TIMEOUT_MS = 20_000
_NEVER = frozenset({"25006", "42501", "55000", "XX000"})
"""Read-only, forbidden, in recovery: what a server answers that takes no logical messages."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """A row of pg_replication_slots, as far as it matters; what the version does not have is harmless."""

    plugin: str
    here: bool
    wal_status: str
    invalidation: str
    conflicting: bool
    confirmed_flush: int
    lag_bytes: int
    active_pid: int | None


@dataclass(frozen=True, slots=True)
class Described:
    """The two tables as they are now, and the server's version."""

    version: int
    events: Relation
    content: Relation
    estimated_events: int


def slot_state(row: dict[str, Any]) -> SlotState:
    """From a row of the query `slot`."""
    raw = row["slot"]
    return SlotState(
        plugin=raw.get("plugin") or "",
        here=bool(row["here"]),
        wal_status=raw.get("wal_status") or "",
        invalidation=raw.get("invalidation_reason") or "",
        conflicting=bool(raw.get("conflicting")),
        confirmed_flush=parse_lsn(row["confirmed_flush"] or "0/0"),
        lag_bytes=row["lag_bytes"] or 0,
        active_pid=row["active_pid"],
    )


class Source:
    """Every call raises Retry when the server does not answer; nothing here outlives its session."""

    def __init__(self, client: Client) -> None:
        self._client, self._postgres = client, client.postgres
        self._connection = client.connect(statement_timeout_ms=_STATEMENT_TIMEOUT_MS)

    def close(self) -> None:
        self._connection.close()

    def was_taken_over(self) -> bool:
        """Whether another process has sessions for this slot. After our own start that is always a younger one."""
        return bool(self._rows("other_processes", prefix=self._client.prefix, name=self._client.name)[0]["count"])

    def end_others(self, keep: Sequence[int]) -> None:
        """End all sessions of this slot but `keep`, and whoever else holds the slot."""
        gone = self._rows("terminate_others", keep=list(keep), prefix=self._client.prefix, slot=self._postgres.slot)
        if not all(row["pg_terminate_backend"] for row in gone):
            raise Retry("a former session of this slot does not end; trying again")

    def describe(self) -> Described:
        """Check all that capture needs; raises Retry with the command that mends it."""
        server = self._rows("server")[0]
        if server["version"] < OLDEST_VERSION:
            raise Retry("PostgreSQL: version 14 or newer is needed")
        if server["wal_level"] != "logical":
            raise Retry(
                "PostgreSQL: wal_level is not logical (ALTER SYSTEM SET wal_level = logical, then restart the server)"
            )
        if not server["replication"]:
            raise Retry(f"PostgreSQL: the role may not replicate ({server['replication_remedy']})")
        tables = {row["name"]: row for row in self._rows("tables")}
        for name in (CONTENT, EVENTS):
            if name not in tables:
                raise Retry(f'PostgreSQL: there is no table {name} (psql "$DATABASE_URL" -f sql/init.sql)')
            if not tables[name]["readable"]:
                raise Retry(f"PostgreSQL: the role may not read {name} (GRANT SELECT ON {name} TO {server['role']})")
            if tables[name]["identity"] != "f":
                raise Retry(
                    f"PostgreSQL: {name} does not tell whole old rows (ALTER TABLE {name} REPLICA IDENTITY FULL)"
                )
        self._check_publication(tables)
        events, content = (self._relation(tables[name]) for name in (EVENTS, CONTENT))
        return Described(server["version"], events, content, max(0, int(tables[EVENTS]["estimate"])))

    def _check_publication(self, tables: dict[str, dict[str, Any]]) -> None:
        publication = self._postgres.publication
        found = self._rows("publication", publication=publication, schema=tables[EVENTS]["schema"])
        if not found:
            raise Retry(
                f"PostgreSQL: there is no publication {publication} "
                f"(CREATE PUBLICATION {publication} FOR TABLE content, engagement_events)"
            )
        for name in (CONTENT, EVENTS):
            if name not in found[0]["tables"]:
                raise Retry(
                    f"PostgreSQL: {name} is not in the publication (ALTER PUBLICATION {publication} ADD TABLE {name})"
                )
        if not found[0]["complete"]:
            raise Retry(
                "PostgreSQL: the publication leaves operations out "
                f"(ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete, truncate'))"
            )

    def _relation(self, table: dict[str, Any]) -> Relation:
        columns = tuple(Column(row["name"], row["type_oid"]) for row in self._rows("columns", oid=table["oid"]))
        problem = misfit(table["name"], columns)
        if problem is not None:
            raise Fatal(f"{problem}, and enrichment needs it", remedy=f"undo the change of {table['name']}")
        return Relation(table["oid"], table["schema"], table["name"], columns)

    def slot(self) -> SlotState | None:
        """None if there is none of this name."""
        rows = self._rows("slot", slot=self._postgres.slot)
        if not rows:
            return None
        return slot_state(rows[0])

    def drop_slot(self) -> None:
        self._rows("drop_slot", slot=self._postgres.slot)

    def commit_something(self) -> None:
        """Make the server stream all of its WAL: what is not part of a commit may lie unflushed for long."""
        self._rows("commit_something")

    def emit_canary(self, content: str) -> str:
        """Write a logical message. Returns why the server will never take one (a standby), empty when it did."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(QUERIES["emit_canary"], {"prefix": WATERMARK_PREFIX, "content": content})
        except psycopg.Error as error:
            if error.sqlstate in _NEVER:
                return " ".join(str(error).split())
            with translated():
                raise
        return ""

    def blockers(self, pid: int) -> str:
        """Who keeps session `pid` from making the slot, as a sentence; empty when nobody does."""
        return "; ".join(
            f"prepared transaction {row['gid']!r} since {row['since']} (COMMIT or ROLLBACK PREPARED it)"
            if row["gid"] is not None
            else f"the transaction of session {row['pid']} ({row['application'] or 'unnamed'}) since {row['since']}"
            for row in self._rows("blockers", pid=pid)
        )

    def filenodes(self) -> tuple[int, int]:
        """(events, content): other numbers mean rewritten or truncated tables."""
        row = self._rows("filenodes")[0]
        return row["events"], row["content"]

    def _rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        with translated(), self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(QUERIES[query], parameters or None).fetchall()

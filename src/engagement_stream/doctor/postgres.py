"""The source: what capture needs of it, by the statements capture itself uses, plus what it can do without."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import psycopg
from psycopg.pq import ExecStatus
from psycopg.rows import dict_row

from engagement_stream.capture.pgoutput import Column
from engagement_stream.capture.queries import QUERIES
from engagement_stream.capture.source import OLDEST_VERSION
from engagement_stream.capture.tables import CONTENT, EVENTS, misfit
from engagement_stream.doctor.clock import judge_clock, skew_s
from engagement_stream.doctor.examination import Examination
from engagement_stream.settings import PostgresSettings, Settings

_CONNECT_TIMEOUT_S = 5
_PSQL = 'psql "$DATABASE_URL" -c'
_EXTRA = files(__package__).joinpath("server.sql").read_bytes()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server told."""

    server: dict[str, Any]
    extra: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    columns: dict[str, tuple[Column, ...]]
    publication: dict[str, Any] | None
    has_slot: bool


@contextmanager
def session(postgres: PostgresSettings) -> Iterator[psycopg.Cursor[dict[str, Any]]]:
    """A short one, under another name than capture's: those are a sign of a successor."""
    with (
        psycopg.connect(
            postgres.database_url.get_secret_value(),
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT_S,
            application_name="engagement-doctor",
            options="-c statement_timeout=10000",
        ) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        yield cursor


def check(settings: Settings) -> Examination:
    """Settings, role, tables, publication, and whether a replication session is let in."""
    of, postgres = Examination(), settings.postgres
    try:
        with session(postgres) as cursor:
            before_s = time.time()
            extra = cursor.execute(_EXTRA).fetchone() or {}
            ahead_s = skew_s(before_s, extra["clock_s"], time.time())
            facts = _facts(cursor, postgres, extra)
    except psycopg.Error as error:
        of.error(
            f"PostgreSQL cannot be asked: {' '.join(str(error).split())}",
            "start it, or correct DATABASE_URL in .env; then: psql \"$DATABASE_URL\" -c 'SELECT 1'",
        )
        return of
    judge(of, postgres, facts)
    judge_clock(of, "PostgreSQL", ahead_s)
    if facts.server["wal_level"] == "logical" and facts.server["replication"]:
        _check_replication(of, postgres, facts.server["role"])
    return of


def judge(of: Examination, postgres: PostgresSettings, facts: Facts) -> None:
    """Findings from what the server told; pure."""
    server, extra, role = facts.server, facts.extra, facts.server["role"]
    of.saw(f"PostgreSQL {extra['release']}")
    if server["version"] < OLDEST_VERSION:
        of.error(f"PostgreSQL {extra['release']} is too old", "upgrade it to version 14 or newer")
    if server["wal_level"] != "logical":
        of.error(
            f"wal_level is {server['wal_level']}: changes cannot be decoded",
            f'{_PSQL} "ALTER SYSTEM SET wal_level = logical"   and restart PostgreSQL',
        )
    if not server["replication"]:
        remedy = server["replication_remedy"].replace('"', r"\"")
        of.error(f"the role {role} may not replicate", f'{_PSQL} "{remedy}"   (as a superuser)')
    if extra["commit_timestamps"] != "on":
        of.warning(
            "track_commit_timestamp is off: a backfill chooses content versions by event time, which is less exact",
            f'{_PSQL} "ALTER SYSTEM SET track_commit_timestamp = on"   and restart PostgreSQL',
        )
    if not facts.has_slot and extra["slots_used"] >= extra["slots_allowed"]:
        of.error(
            f"all {extra['slots_allowed']} replication slots are taken: capture cannot make its own",
            f'{_PSQL} "ALTER SYSTEM SET max_replication_slots = {extra["slots_allowed"] + 10}"   and restart '
            "PostgreSQL; or drop one that nobody reads",
        )
    for name in (CONTENT, EVENTS):
        _judge_table(of, name, facts, role)
    _judge_publication(of, postgres.publication, facts)


def _judge_table(of: Examination, name: str, facts: Facts, role: str) -> None:
    table = facts.tables.get(name)
    if table is None:
        of.error(f"there is no table {name}", 'psql "$DATABASE_URL" -f sql/init.sql')
        return
    if not table["readable"]:
        of.error(f"the role {role} may not read {name}", f'{_PSQL} "GRANT SELECT ON {name} TO {role}"   (as its owner)')
    if table["identity"] != "f":
        of.error(
            f"{name} does not tell whole old rows (its replica identity is not FULL)",
            f'{_PSQL} "ALTER TABLE {name} REPLICA IDENTITY FULL"',
        )
    if (problem := misfit(name, facts.columns[name])) is not None:
        of.error(f"{problem}, and enrichment needs it", f"undo the change of table {name}; sql/init.sql shows it")


def _judge_publication(of: Examination, name: str, facts: Facts) -> None:
    publication = facts.publication
    if publication is None:
        of.error(
            f"there is no publication {name}",
            f'{_PSQL} "CREATE PUBLICATION {name} FOR TABLE content, engagement_events"',
        )
        return
    for table in (CONTENT, EVENTS):
        if table in facts.tables and table not in publication["tables"]:
            of.error(f"{table} is not in the publication", f'{_PSQL} "ALTER PUBLICATION {name} ADD TABLE {table}"')
    if not publication["complete"]:
        of.error(
            "the publication leaves operations out",
            f"{_PSQL} \"ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')\"",
        )


def _facts(cursor: psycopg.Cursor[dict[str, Any]], postgres: PostgresSettings, extra: dict[str, Any]) -> Facts:
    def rows(query: str, **parameters: object) -> list[dict[str, Any]]:
        return cursor.execute(QUERIES[query], parameters or None).fetchall()

    tables = {row["name"]: row for row in rows("tables")}
    schema = tables[EVENTS]["schema"] if EVENTS in tables else "public"
    publication = rows("publication", publication=postgres.publication, schema=schema)
    return Facts(
        server=rows("server")[0],
        extra=extra,
        tables=tables,
        columns={
            name: tuple(Column(row["name"], row["type_oid"]) for row in rows("columns", oid=table["oid"]))
            for name, table in tables.items()
        },
        publication=publication[0] if publication else None,
        has_slot=bool(rows("slot", slot=postgres.slot)),
    )


def _check_replication(of: Examination, postgres: PostgresSettings, role: str) -> None:
    """pg_hba.conf has lines of its own for replication."""
    try:
        with psycopg.connect(
            postgres.database_url.get_secret_value(),
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT_S,
            application_name="engagement-doctor",
            replication="database",
        ) as connection:
            result = connection.pgconn.exec_(b"IDENTIFY_SYSTEM")
            problem = "" if result.status == ExecStatus.TUPLES_OK else result.get_error_message()
    except psycopg.Error as error:
        problem = str(error)
    if problem:
        of.error(
            f"a replication session is refused: {' '.join(problem.split())}",
            f"add to pg_hba.conf: host all {role} <address of this machine>/32 scram-sha-256; "
            f'then {_PSQL} "SELECT pg_reload_conf()"',
        )

"""One at a time per target: advisory locks in the source database, held by a session of their own.

A lock ends with its session, so a killed holder leaves none. A frozen one may lose it unnoticed: `JobChain` refuses
what it then still wants to do.
"""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import psycopg

from engagement_stream.errors import Retry
from engagement_stream.settings import BigQuerySettings, PostgresSettings
from engagement_stream.sinks.bigquery.table import table_name

INSERT = "insert"
"""Held around each insert into the target."""
_LOOK_EVERY_S = 0.5
_TRY = b"select pg_try_advisory_lock(%s), (now() at time zone 'utc')::date"
_HOLDER = b"""
select a.pid, a.application_name, a.backend_start::timestamptz(0)::text
  from pg_locks l join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.database = a.datid
   and (l.classid::bigint << 32 | l.objid::bigint) = %s
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that is ours. `today`: by the database's clock."""

    connection: psycopg.Connection
    today: date

    def check(self) -> None:
        """Raises Retry when the session, and with it the lock, is gone."""
        try:
            self.connection.execute("select 1")
        except psycopg.Error as error:
            raise Retry("PostgreSQL: the connection that held the lock is lost; run it again") from error


@contextmanager
def exclusive(
    postgres: PostgresSettings,
    bigquery: BigQuerySettings,
    purpose: str,
    who: str,
    waiting: Callable[[str], None],
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Held | None]:
    """Hold the target's lock of this purpose; None when `stopped` came first. Raises Retry.

    `who` names us to others; `waiting` is told once who holds it when somebody else does.
    """
    number = _number(f"{purpose}:{table_name(bigquery)}")
    name = f"engagement-{who} on {socket.gethostname()[:20]}, pid {os.getpid()}"
    try:
        connection = psycopg.connect(
            postgres.database_url.get_secret_value(),
            autocommit=True,
            application_name=name[:63],
            connect_timeout=10,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
    except psycopg.Error as error:
        raise Retry(f"PostgreSQL: {' '.join(str(error).split())}") from error
    with connection:
        yield _acquire(connection, number, waiting, stopped)


def _acquire(
    connection: psycopg.Connection, number: int, waiting: Callable[[str], None], stopped: Callable[[], bool]
) -> Held | None:
    told = False
    try:
        while True:
            row = connection.execute(_TRY, (number,)).fetchone()
            assert row is not None
            if row[0]:
                return Held(connection, row[1])
            if not told:
                told = True
                waiting(_holder(connection, number))
            if stopped():
                return None
            time.sleep(_LOOK_EVERY_S)
    except psycopg.Error as error:
        raise Retry(f"PostgreSQL: {' '.join(str(error).split())}") from error


def _holder(connection: psycopg.Connection, number: int) -> str:
    row = connection.execute(_HOLDER, (number,)).fetchone()
    return "another session" if row is None else f"{row[1]} (session {row[0]} since {row[2]})"


def _number(name: str) -> int:
    """A positive 63-bit number: two names share one once in 10^18."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1

"""Blocks of rows into PostgreSQL, each exactly once, through lost connections and lost answers.

A block is one transaction whose number is known before its COMMIT is sent. If the answer is lost, the server is
asked after the reconnect what became of that number, and only a block that was not committed is sent again.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from engagement_stream.backoff import Backoff, Patience
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import ConfigurationError, Fatal, Retry
from engagement_stream.generate.copy_format import COLUMNS
from engagement_stream.generate.population import Content, stored
from engagement_stream.observe.log import log

T = TypeVar("T")

_COPY = f"copy engagement_events ({', '.join(COLUMNS)}) from stdin (format binary)"
_BEGIN = "begin; select pg_current_xact_id()::text"
_FATE = "select pg_xact_status(%s::text::xid8)"
# In the order of the slugs, so that two runs that start at once wait for, and never deadlock, each other.
_ADD_CONTENT = """
    insert into content (id, slug, title, content_type, length_seconds, publish_ts)
    select * from unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::integer[], %s::timestamptz[])
    on conflict do nothing
"""
_GET_CONTENT = """
    select slug, id, title, length_seconds, (extract(epoch from publish_ts) * 1000000)::bigint
    from content where slug = any(%s) and isfinite(publish_ts)
"""
_EDIT_CONTENT = "update content set title = %s, length_seconds = %s where id = %s"
_BACKOFF = Backoff(base_s=0.1, cap_s=5.0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Stopped(Exception):
    """The caller's stop was set while the database could not be reached."""


class Writer:
    """One connection, used by one thread at a time; `abandon` may be called from another.

    `patience_s` bounds how long an unreachable database is waited for (None: until `stop`); `tell` hears the reason
    when it goes away and "" when it is back.
    """

    def __init__(
        self,
        database_url: str,
        *,
        stop: threading.Event,
        patience_s: float | None = None,
        tell: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        try:
            self._conninfo = make_conninfo(
                database_url,
                application_name="engagement-generator",
                connect_timeout=10,
                keepalives_idle=15,
                tcp_user_timeout=30_000,  # ms; a silent network is a lost one
            )
        except psycopg.ProgrammingError:
            raise ConfigurationError(
                "DATABASE_URL is not a PostgreSQL URL: postgresql://user:password@host:5432/db"
            ) from None
        self._stop = stop
        self._patience_s = patience_s
        self._tell = tell
        self._connection: psycopg.Connection | None = None
        self._doubtful = ""  # number of a transaction whose outcome we do not know
        self._waiting = ""
        self._contents: dict[str, Content] = {}  # what our rows may refer to
        self._restoring = False

    def ensure(self, contents: Sequence[Content]) -> list[Content]:
        """Insert what is missing (by slug) and return all of it as the table has it now."""

        def attempt(connection: psycopg.Connection) -> list[Content]:
            _add(connection, sorted(contents, key=lambda content: content.slug))
            known = {
                slug: row for slug, *row in connection.execute(_GET_CONTENT, ([c.slug for c in contents],)).fetchall()
            }
            return [stored(c, *known[c.slug]) for c in contents if c.slug in known]

        found = self._persist(attempt)
        self._contents = {content.slug: content for content in found}
        return found

    def write(self, block: bytes, *, new: Content | None = None, edited: Content | None = None) -> None:
        """Commit one COPY stream; a content change goes first, in the same transaction."""

        def attempt(connection: psycopg.Connection) -> None:
            if self._doubtful and self._was_committed(connection):
                return
            cursor = connection.execute(_BEGIN)
            cursor.nextset()
            (number,) = cursor.fetchone() or ("",)
            if self._restoring:
                _add(connection, [self._contents[slug] for slug in sorted(self._contents)])
            if new is not None:
                _add(connection, [new])
            if edited is not None:
                connection.execute(_EDIT_CONTENT, (edited.title, edited.length_seconds, edited.id))
            crash_point("generate.before_copy")
            with cursor.copy(_COPY) as copy:
                copy.write(block)
            crash_point("generate.before_commit")
            self._doubtful = str(number)
            connection.execute("commit")
            crash_point("generate.after_commit")
            self._doubtful = ""
            self._restoring = False

        if changed := new or edited:
            self._contents[changed.slug] = changed
        self._persist(attempt)

    def close(self) -> None:
        """Let go of the connection; a transaction that is open in it ends without effect."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def abandon(self) -> None:
        """From another thread: break the connection, so that a call that hangs on a frozen server ends."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=connection.fileno()) as raw:
                try:
                    raw.shutdown(socket.SHUT_RDWR)
                finally:
                    raw.detach()  # the descriptor stays libpq's to close

    def _was_committed(self, connection: psycopg.Connection) -> bool:
        try:
            (fate,) = connection.execute(_FATE, (self._doubtful,)).fetchone() or (None,)
        except errors.InvalidParameterValue:  # a number of the future: another server, or an older copy of ours
            fate = None
        if fate == "in progress":
            raise Retry(f"transaction {self._doubtful} of the lost connection has not ended yet")
        self._doubtful = ""
        return bool(fate == "committed")

    def _persist(self, attempt: Callable[[psycopg.Connection], T]) -> T:
        began_s, patience = time.monotonic(), Patience(_BACKOFF)
        while True:
            try:
                if self._connection is None:
                    self._connection = psycopg.connect(self._conninfo, autocommit=True)
                result = attempt(self._connection)
            except errors.ForeignKeyViolation as error:
                self.close()
                if self._restoring:
                    raise Fatal(
                        f"content of the generated traffic cannot be inserted again: {_sentence(error)}",
                        remedy="Another id has taken one of its slugs; start the generator again to use that id.",
                    ) from error
                log().warning("content was deleted, inserting it again")
                self._restoring = True
            except (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction, Retry) as error:
                self.close()
                self._waits(_sentence(error))
                waited_s = time.monotonic() - began_s
                if self._patience_s is not None and waited_s >= self._patience_s:
                    raise Fatal(
                        f"the database could not be reached for {waited_s:.0f} s: {_sentence(error)}",
                        remedy="Is PostgreSQL running where DATABASE_URL says? `./start.sh` starts one.",
                    ) from error
                if self._stop.wait(patience.next_wait_s()):
                    raise Stopped from error
            except psycopg.Error as error:  # missing tables, missing rights, other columns
                self.close()
                raise Fatal(
                    f"the source tables cannot be written: {_sentence(error)}",
                    remedy="Run sql/init.sql in that database, and let this role insert into both tables.",
                ) from error
            except BaseException:
                self.close()  # whatever is open in it must not be found by the next call
                raise
            else:
                self._waits("")
                return result

    def _waits(self, reason: str) -> None:
        if bool(reason) != bool(self._waiting):
            if reason:
                log().warning("database unreachable", reason=reason)
            else:
                log().info("database reachable again")
            self._tell(reason)
        self._waiting = reason


def _add(connection: psycopg.Connection, contents: Sequence[Content]) -> None:
    connection.execute(
        _ADD_CONTENT,
        (
            [c.id for c in contents],
            [c.slug for c in contents],
            [c.title for c in contents],
            [c.content_type for c in contents],
            [c.length_seconds for c in contents],
            [_EPOCH + timedelta(microseconds=c.publish_ts_us) for c in contents],
        ),
    )


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

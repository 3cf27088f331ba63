"""Connections to the source, all with the same session settings, and what their failures ask for.

Both reading paths (the stream and the first copy) get their text forms from the same settings, so that a row looks
the same whichever way it came. Every session of ours carries the slot in its application_name: a successor finds
and ends what a frozen predecessor left behind.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import DiagnosticField
from psycopg.pq.abc import PGresult

from engagement_stream.errors import Retry
from engagement_stream.settings import PostgresSettings

SESSION_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "row_security": "off",  # a policy that would hide rows is an error, not a hole
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
_WALSENDER_TIMEOUT_MS = 60_000
"""Longer than any call to Kafka of ours may take: between two of them we answer."""
_CONNECT_TIMEOUT_S = 10
_LONGEST_SLOT = 35


@dataclass(frozen=True, slots=True)
class Client:
    """This process towards the source. `token` tells its sessions from those of other processes of the same slot."""

    postgres: PostgresSettings
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def prefix(self) -> str:
        """How the application_name of every session of this slot begins."""
        slot = self.postgres.slot
        if len(slot) > _LONGEST_SLOT:  # 63 bytes of an application_name are kept
            slot = f"{slot[:20]}~{hashlib.sha256(slot.encode()).hexdigest()[:8]}"
        return f"engagement-capture:{slot}:"

    @property
    def name(self) -> str:
        """The application_name of this process's sessions."""
        return self.prefix + self.token

    def connect(self, *, replication: bool = False, statement_timeout_ms: int = 0) -> psycopg.Connection:
        """A new session in autocommit mode. Raises Retry with what a person can do where that is known."""
        url = self.postgres.database_url.get_secret_value()
        settings = SESSION_SETTINGS | {"statement_timeout": str(statement_timeout_ms)}
        if replication:
            settings |= {"wal_sender_timeout": str(_WALSENDER_TIMEOUT_MS)}
        own = " ".join(f"-c {name}={value}" for name, value in settings.items())
        with translated():
            try:
                theirs = str(conninfo_to_dict(url).get("options") or "")
            except psycopg.ProgrammingError:
                raise Retry("DATABASE_URL is not a connection string that PostgreSQL's client understands") from None
            return psycopg.connect(
                url,
                autocommit=True,
                options=f"{theirs} {own}".strip(),
                application_name=self.name,
                client_encoding="UTF8",
                connect_timeout=_CONNECT_TIMEOUT_S,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=30_000,
                replication="database" if replication else None,
            )


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The one border at which psycopg's exceptions become ours: all of them mean "not now"."""
    try:
        yield
    except psycopg.Error as error:
        raise Retry(_sentence(str(error), error.sqlstate)) from error


def result_error(result: PGresult) -> Retry:
    """The same for a failed result of the low-level interface."""
    state = result.error_field(DiagnosticField.SQLSTATE)
    return Retry(_sentence(result.get_error_message(), state.decode() if state else None))


_REMEDIES_BY_STATE = {
    "28P01": "check user and password in DATABASE_URL",
    "28000": "check user and password in DATABASE_URL and pg_hba.conf",
    "3D000": "make the database, or correct DATABASE_URL",
    "42501": "ALTER ROLE <role of DATABASE_URL> REPLICATION, on Amazon RDS GRANT rds_replication TO <role>; "
    "GRANT SELECT ON content, engagement_events TO <role>",
    "53400": "raise max_replication_slots on the source, or drop an unused slot",
    "55006": "the slot is in use by another process",
}
_REMEDIES_BY_TEXT = {
    "password authentication failed": "28P01",
    "no pg_hba.conf entry": "28000",
    "no password supplied": "28P01",
    "permission denied": "42501",
    "must be superuser or replication role": "42501",
    "all replication slots are in use": "53400",
}
"""A refused connection carries no SQLSTATE in libpq, only the server's sentence."""


def _sentence(message: str, state: str | None) -> str:
    message = " ".join(message.split())
    known = state if state in _REMEDIES_BY_STATE else None
    if known is None:
        known = next((code for text, code in _REMEDIES_BY_TEXT.items() if text in message), None)
    return f"PostgreSQL: {message}" + (f" ({_REMEDIES_BY_STATE[known]})" if known else "")

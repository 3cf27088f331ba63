"""How much WAL the slot holds back: told while capture streams, and above all while it cannot.

While Kafka is away the source's disk fills. The look has a short session of its own under another name: sessions that
carry the slot's name are a successor's sign that capture was taken over.
"""

import time

import psycopg
from psycopg.rows import dict_row

from engagement_stream.capture.queries import QUERIES
from engagement_stream.observe.metrics import SLOT_AT_RISK, SLOT_LAG_BYTES
from engagement_stream.observe.status import StageStatus
from engagement_stream.settings import PostgresSettings

_EVERY_S = 10.0
_CONNECT_TIMEOUT_S = 3
_AT_RISK = frozenset({"unreserved", "lost"})


def tell_slot(status: StageStatus, lag_bytes: int, wal_status: str) -> None:
    """To the metrics and to /health."""
    SLOT_LAG_BYTES.set(lag_bytes)
    SLOT_AT_RISK.set(wal_status in _AT_RISK)
    status.detail(slot_lag_bytes=lag_bytes, slot_wal_status=wal_status)


class SlotWatch:
    """Looks at most every ten seconds, and never raises: it is only asked while something else is wrong already."""

    def __init__(self, postgres: PostgresSettings, status: StageStatus) -> None:
        self._postgres, self._status = postgres, status
        self._looked_s = 0.0

    def look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < _EVERY_S:
            return
        self._looked_s = now_s
        try:
            with (
                psycopg.connect(
                    self._postgres.database_url.get_secret_value(),
                    autocommit=True,
                    connect_timeout=_CONNECT_TIMEOUT_S,
                    application_name="engagement-slot-watch",
                    options="-c statement_timeout=3000",
                ) as connection,
                connection.cursor(row_factory=dict_row) as cursor,
            ):
                row = cursor.execute(QUERIES["slot"], {"slot": self._postgres.slot}).fetchone()
        except psycopg.Error:
            return
        if row is not None:
            tell_slot(self._status, row["lag_bytes"] or 0, row["slot"].get("wal_status") or "")

"""The replication slot against our own record of what was delivered: the same verdict that capture would come to."""

from typing import Any

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from engagement_stream.capture.progress import Progress, ProgressTopic
from engagement_stream.capture.queries import QUERIES
from engagement_stream.capture.slot import check_slot, check_unused
from engagement_stream.capture.source import slot_state
from engagement_stream.doctor.examination import Examination
from engagement_stream.doctor.postgres import session
from engagement_stream.errors import EngagementError, Fatal, Retry
from engagement_stream.settings import Settings

_MUCH_WAL_BYTES = 1 << 30
_TIMEOUT_S = 5.0


def check(settings: Settings) -> Examination:
    """The slot is read first: while capture runs, its record is only ever ahead of what is acknowledged."""
    of = Examination()
    slot = settings.postgres.slot
    try:
        with session(settings.postgres) as cursor:
            row = cursor.execute(QUERIES["slot"], {"slot": slot}).fetchone()
    except psycopg.Error:
        of.note("PostgreSQL cannot be asked about the slot", "see the finding about postgresql")
        return of
    if row is not None:
        judge_slot(of, slot, row)
    try:
        progress = _progress(settings)
    except (Retry, KafkaException):
        of.note(
            "what was delivered from the slot stands in Kafka, which cannot be asked", "see the finding about kafka"
        )
        return of
    except Fatal as error:
        of.error(str(error), error.remedy)
        return of
    _judge_progress(of, slot, row, progress)
    return of


def _progress(settings: Settings) -> Progress | None:
    kafka = settings.kafka
    admin = AdminClient({**kafka.client_config()})
    if kafka.progress_topic not in admin.list_topics(timeout=_TIMEOUT_S).topics:
        return None
    return ProgressTopic(kafka, settings.postgres.slot).read().progress


def judge_slot(of: Examination, name: str, row: dict[str, Any]) -> None:
    """Whether somebody reads it, and what it costs the source; pure."""
    lag_bytes, wal_status = int(row["lag_bytes"] or 0), row["slot"].get("wal_status") or ""
    of.saw(f"{name} {'active' if row['active_pid'] else 'inactive'}, {lag_bytes / 1e6:.1f} MB of WAL held back")
    if row["active_pid"] is None:
        of.warning(
            f"nobody reads the replication slot {name}: PostgreSQL keeps its WAL ({lag_bytes / 1e6:.1f} MB so far)",
            "engagement stream   (or ./start.sh, or docker-compose up -d: whatever runs capture)",
        )
    if lag_bytes > _MUCH_WAL_BYTES:
        of.warning(
            f"the slot holds back {lag_bytes / 1e9:.1f} GB of WAL on the source's disk",
            "see docs/runbook.md#engagementslotholdswal",
        )
    if wal_status == "unreserved":
        of.error(
            "PostgreSQL may remove WAL that the slot needs at its next checkpoint",
            'psql "$DATABASE_URL" -c "ALTER SYSTEM SET max_slot_wal_keep_size = \'50GB\'" -c "SELECT pg_reload_conf()"',
        )


def _judge_progress(of: Examination, name: str, row: dict[str, Any] | None, progress: Progress | None) -> None:
    state = None if row is None else slot_state(row)
    try:
        if progress is None:
            check_unused(name, state)
            of.note(f"the slot {name} is made by the first start of capture", "engagement stream")
        elif progress.phase != "creating":
            check_slot(name, progress, state)
    except Fatal as error:
        of.error(str(error), error.remedy)
    except EngagementError as error:
        of.error(str(error), "see the log of capture")

"""Is the slot still what we left it as? Pure: the only detector of loss there is.

PostgreSQL 15 and newer start a slot at its own confirmed position when it is asked for an older one, without a
word. So everything that could have moved the slot, the timeline or the cluster is compared with our own record.
"""

import datetime as dt

from engagement_stream.capture.progress import Progress
from engagement_stream.capture.session import Identity
from engagement_stream.capture.source import SlotState
from engagement_stream.errors import Fatal
from engagement_stream.model.position import format_lsn, parse_lsn


def start_over(progress: Progress | None) -> str:
    """How a person goes on after a loss."""
    since = ""
    if progress is not None and progress.commit_ts_us:
        reached = dt.datetime.fromtimestamp(progress.commit_ts_us / 1e6, dt.UTC)
        since = f" (of what was committed since {reached:%Y-%m-%d %H:%M:%S} UTC)"
    return (
        "set CAPTURE_SLOT to a new name and CAPTURE_SNAPSHOT=never and start again, then fill the gap: "
        f"python -m src.stream_processor --mode backfill --start-date ... --end-date ...{since}"
    )


def check_cluster(progress: Progress, identity: Identity, history: str | None) -> None:
    """`history`: the timeline history file when the timeline differs. Raises Fatal."""
    reached = format_lsn(progress.end_lsn)
    if identity.system_identifier != progress.system_identifier:
        raise Fatal(
            f"this is another database cluster (system identifier {identity.system_identifier}, "
            f"captured so far: {progress.system_identifier})",
            remedy="set DATABASE_URL back; or, to capture this one, new KAFKA_PREFIX, KAFKA_TOPIC_ENGAGEMENT_EVENTS "
            "and CAPTURE_SLOT: positions of two clusters do not compare",
        )
    if identity.timeline != progress.timeline:
        left = _left_at(history or "", progress.timeline)
        if left is None or left < progress.end_lsn:
            raise Fatal(
                f"the server went over to timeline {identity.timeline} before {reached}: changes that were delivered "
                "do not exist there, a failover lost them",
                remedy=start_over(progress),
            )
    if identity.wal_end < progress.end_lsn:
        raise Fatal(
            f"the server's WAL ends at {format_lsn(identity.wal_end)}, before {reached}, which was delivered: it was "
            "restored from an older state",
            remedy=start_over(progress),
        )


def check_slot(name: str, progress: Progress, slot: SlotState | None) -> None:
    """Raises Fatal unless the slot still holds everything behind our position."""
    if slot is None:
        raise Fatal(
            f"replication slot {name} is gone; changes after {format_lsn(progress.end_lsn)} are lost to it",
            remedy=start_over(progress),
        )
    if slot.plugin != "pgoutput" or not slot.here:
        raise Fatal(
            f"replication slot {name} belongs to another database or plugin ({slot.plugin or 'physical'})",
            remedy="set CAPTURE_SLOT to a name of its own",
        )
    # `unreserved` still works: the WAL is there, but not promised.
    if slot.wal_status == "lost" or slot.invalidation or slot.conflicting:
        raise Fatal(
            f"replication slot {name} was invalidated ({slot.invalidation or slot.wal_status or 'conflict'}): "
            f"the WAL after {format_lsn(progress.end_lsn)} was removed",
            remedy=f"SELECT pg_drop_replication_slot('{name}'); then {start_over(progress)}",
        )
    if slot.confirmed_flush > progress.end_lsn:
        raise Fatal(
            f"replication slot {name} stands at {format_lsn(slot.confirmed_flush)}, we delivered up to "
            f"{format_lsn(progress.end_lsn)}: somebody advanced it or made it anew, what lies between is lost to it",
            remedy=f"SELECT pg_drop_replication_slot('{name}'); then {start_over(progress)}",
        )


def check_unused(name: str, slot: SlotState | None) -> None:
    """Without any record of ours there must be no slot either. Raises Fatal."""
    if slot is not None:
        raise Fatal(
            f"replication slot {name} exists, but there is no record of what was delivered from it",
            remedy="if Kafka's topics were lost, restore them; if this is another system's slot, set CAPTURE_SLOT to "
            f"another name; only if nothing was ever delivered: SELECT pg_drop_replication_slot('{name}')",
        )


def _left_at(history: str, timeline: int) -> int | None:
    for line in history.splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[0] == str(timeline):
            return parse_lsn(parts[1])
    return None

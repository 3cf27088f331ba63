"""From whatever is there to a stream that may begin: the fence, the checks, and the first start.

The order is the protocol. First the outbox is renewed: no older process can commit any more. Then our sessions are
opened, and the sessions of older processes are ended: whatever they still do to the slot fails. Only then the progress
is read. Every step that destroys something (dropping a half-made slot) follows a commit of this same epoch, so that a
frozen process that wakes up between two steps is fenced before it can destroy what its successor made.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from engagement_stream.broker.transaction import Outbox
from engagement_stream.capture.connect import Client
from engagement_stream.capture.copying import CopySession, Imported
from engagement_stream.capture.progress import Copy, Progress, ProgressTopic
from engagement_stream.capture.session import Identity, ReplicationSession
from engagement_stream.capture.slot import check_cluster, check_slot, check_unused
from engagement_stream.capture.source import Described, Source
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fenced, Retry
from engagement_stream.settings import KafkaSettings

FAILOVER_VERSION = 170_000


@dataclass(slots=True)
class Opened:
    """Everything the streaming needs. `copy_session` is there while the first copy is on its way."""

    progress: Progress
    delivered: tuple[int, ...]
    source: Source
    session: ReplicationSession
    identity: Identity
    tables: Described
    copy_session: CopySession | None = None
    fresh: Imported | None = None
    """The slot was made just now: the content has to be copied before anything else."""

    def close(self) -> None:
        self.session.close()
        self.source.close()


def open_capture(
    client: Client,
    kafka: KafkaSettings,
    outbox: Outbox,
    kept: CopySession | None,
    waiting: Callable[[str], None],
    *,
    again: bool,
) -> Opened:
    """`kept`: the copying session of an earlier attempt of this process. `waiting` is told what blocks; it may raise.

    `again`: this process has opened before. If another one's sessions are there now, that one took over while we
    were frozen, and it would be wrong to take it back. Raises Retry, TransactionLost, Fenced or Fatal.
    """
    postgres = client.postgres
    if again:
        _check_not_taken_over(client)
    crash_point("capture.before_fence")
    outbox.renew()
    crash_point("capture.after_fence")
    source = Source(client)
    session: ReplicationSession | None = None
    try:
        session = ReplicationSession(client)
        keep = [session.backend_pid, *([kept.backend_pid] if kept is not None else [])]
        source.end_others(keep)
        crash_point("capture.after_ending_others")
        tables = source.describe()
        identity = session.identify()
        topic = ProgressTopic(kafka, postgres.slot)
        resume = topic.read()
        crash_point("capture.after_progress")
        progress = resume.progress
        if kept is not None and (progress is None or progress.copy is None):
            kept.close()  # of a slot that is made anew, or of a copy that turned out to be over
        if progress is None:
            check_unused(postgres.slot, source.slot())
        if progress is None or progress.phase == "creating":
            return _create(client, outbox, topic, source, session, identity, tables, waiting)
        history = session.timeline_history(identity.timeline) if identity.timeline != progress.timeline else None
        check_cluster(progress, identity, history)
        check_slot(postgres.slot, progress, source.slot())
        opened = Opened(progress, resume.delivered, source, session, identity, tables)
        if progress.copy is not None:
            opened.copy_session = _copy_session(client, progress.copy, kept)
            source.commit_something()  # or the stream might not come as far as what the copy sees
            crash_point("capture.after_commit_something")
    except BaseException:
        source.close()
        if session is not None:
            session.close()
        raise
    return opened


def _check_not_taken_over(client: Client) -> None:
    with contextlib.closing(Source(client)) as source:
        if source.was_taken_over():
            raise Fenced("another process has taken this slot over")


def _copy_session(client: Client, copy: Copy, kept: CopySession | None) -> CopySession:
    if kept is not None and kept.alive and kept.consistent_point == copy.consistent_point:
        kept.stop_reading()
        return kept
    if kept is not None:
        kept.close()
    copy_session = CopySession(client)
    try:
        copy_session.filter_by(copy)
        crash_point("capture.after_copy_session")
    except BaseException:
        copy_session.close()
        raise
    return copy_session


def _check_untouched(before: tuple[int, int], after: tuple[int, int]) -> None:
    # TRUNCATE and rewrites do not respect snapshots: an older one sees an empty table afterwards.
    if before != after:
        raise Retry("the tables were rewritten or truncated while the slot was being made; making it anew")


def _create(
    client: Client,
    outbox: Outbox,
    topic: ProgressTopic,
    source: Source,
    session: ReplicationSession,
    identity: Identity,
    tables: Described,
    waiting: Callable[[str], None],
) -> Opened:
    """Make the slot; after a crash before the content was copied whole, make it anew."""
    progress = Progress(phase="creating", system_identifier=identity.system_identifier, timeline=identity.timeline)
    outbox.begin()
    topic.write(outbox, progress)
    outbox.commit()
    crash_point("capture.after_creating_record")
    source.drop_slot()
    before = source.filenodes()

    def blocked() -> None:
        waiting(source.blockers(session.backend_pid))

    crash_point("capture.before_slot")
    try:
        slot = session.create_slot(failover=tables.version >= FAILOVER_VERSION, while_waiting=blocked)
    except Retry as error:
        if "already exists" in str(error):
            raise Fenced("another process made the slot first") from error
        raise
    crash_point("capture.after_slot")
    copy_session = CopySession(client)
    try:
        imported = copy_session.import_snapshot(slot.snapshot_name, slot.consistent_point)
        crash_point("capture.after_import")
        _check_untouched(before, imported.filenodes)
    except BaseException:
        copy_session.close()
        raise
    return Opened(progress, (), source, session, identity, tables, copy_session, imported)

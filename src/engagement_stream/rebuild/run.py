"""`engagement rebuild redis`, step by step.

1. Lock. Capture's first copy has to be over: its records carry the place of their snapshot, not of their commit.
2. Where the enriched topic ends now: everything before that was committed before what comes next.
3. A temporary slot, its snapshot, its consistent point P: the snapshot holds exactly what was committed before P.
4. A mark behind P; once it has come through every partition, whatever of the snapshot is refused on the way lies in the
   dead-letter queue. Those events are left out, unless their replay has been counted: a replay brings them.
5. Count in the snapshot, write into a new generation of keys. Compare its sums with SQL's in the same snapshot.
6. Partition by partition, put the generation in place with the fence of step 2 and P. The sink finds itself moved, goes
   to that fence and passes over what was committed before P.
7. Delete the old generation in pieces.

A death anywhere before 6 changes nothing that anybody reads; in 6, some partitions are new and some old, each whole;
after it, only keys that nobody reads are left, and the next run deletes them. Running it again is always right.
"""

import secrets
import threading
import time
from dataclasses import dataclass

from confluent_kafka import IsolationLevel

from engagement_stream.broker.topics import ensure_topics, high_watermarks
from engagement_stream.capture.letters import Letters
from engagement_stream.capture.progress import Progress as CaptureProgress
from engagement_stream.capture.progress import ProgressTopic
from engagement_stream.capture.session import Identity
from engagement_stream.errors import EngagementError, Fatal
from engagement_stream.model.position import format_lsn
from engagement_stream.rebuild.letters import Settled, letters_to_leave_out, replays_counted
from engagement_stream.rebuild.mark import await_mark
from engagement_stream.rebuild.report import Progress, Report, Tell
from engagement_stream.rebuild.source import RebuildSource, Taken
from engagement_stream.rebuild.state import NewState, packed
from engagement_stream.settings import Settings
from engagement_stream.sinks.redis.fold import COUNTERS
from engagement_stream.sinks.redis.generation import NewGeneration

CHUNK_ROWS = 250_000
"""About a second's work: often enough for progress and Ctrl-C."""
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Joint:
    """Where each partition joins the log: the fence, the mark behind all that was counted, the fence of replays."""

    ends: list[int]
    marks: list[int]
    replays: list[int]


class Interrupted(EngagementError):
    """It was told to stop before anything was put in place."""


def rebuild_redis(
    settings: Settings,
    *,
    dry_run: bool = False,
    stop: threading.Event | None = None,
    tell: Tell = lambda _progress: None,
    patience_s: float = _PATIENCE_S,
    chunk_rows: int = CHUNK_ROWS,
) -> Report:
    """Count everything anew. Raises Interrupted, Retry or Fatal; nothing that is read has changed then."""
    stop = stop or threading.Event()
    return _Rebuild(settings, stop, tell, patience_s, chunk_rows).run(dry_run=dry_run)


class _Rebuild:
    def __init__(
        self, settings: Settings, stop: threading.Event, tell: Tell, patience_s: float, chunk_rows: int
    ) -> None:
        self._settings, self._kafka = settings, settings.kafka
        self._stop, self._tell = stop, tell
        self._patience_s, self._chunk_rows = patience_s, chunk_rows
        self._report = Report(partitions=settings.kafka.partitions)
        self._began_s = time.monotonic()

    def run(self, *, dry_run: bool) -> Report:
        kafka, report = self._kafka, self._report
        report.dry_run = dry_run
        ensure_topics(kafka)
        with (
            NewGeneration(self._settings.redis, kafka.partitions) as generation,
            RebuildSource(self._settings.postgres) as source,
        ):
            report.notes += generation.warnings
            report.redis_events = generation.present_events()
            source.lock(self._settings.redis)
            captured = ProgressTopic(kafka, self._settings.postgres.slot).read().progress
            _check_captured(captured)
            ends = high_watermarks(
                kafka, kafka.enriched_topic, kafka.partitions, isolation=IsolationLevel.READ_COMMITTED
            )
            taken, identity = source.take_snapshot(self._waits)
            _check_cluster(captured, identity, taken)
            if not taken.commit_times:
                report.notes.append(
                    "track_commit_timestamp is off: events from the future, the window and the order of the latest "
                    "events follow event_ts alone (ALTER SYSTEM SET track_commit_timestamp = on, then restart)"
                )
            marks = list(ends) if dry_run else self._await_mark(source, ends)
            replays = replays_counted(self._kafka, generation.replays_fences())
            letters = self._letters(source, Settled(marks, replays))
            report.left_out = source.leave_out(taken, sorted(letters.event_ids))
            for stage, count in letters.unknown.items():
                report.notes.append(f"{count} dead letters of {stage} do not tell which event they are about")
            if dry_run:
                report.events = source.totals()[0]
                return self._timed()
            try:
                state = self._fill(generation, source, taken, letters.counts_below(ends))
                self._switch(generation, state, taken, Joint(ends, marks, replays))
            except BaseException:
                self._abandon(generation)
                raise
            self._step("deleting what was there before")
            report.forgotten_keys = generation.forget_others(self._deleted)
        return self._timed()

    def _await_mark(self, source: RebuildSource, ends: list[int]) -> list[int]:
        """Offset of the mark in each partition: behind it nothing of the snapshot comes but replays of dead letters."""
        self._step("waiting for capture and enrich to come to the snapshot")
        mark = f"rebuild/{secrets.token_hex(8)}"
        source.emit_mark(mark)
        found = await_mark(
            self._kafka,
            mark,
            dict(enumerate(ends)),
            stop=self._stop,
            patience_s=self._patience_s,
            tell=self._step,
        )
        self._unless_stopped()
        return [found[partition] for partition in range(len(ends))]

    def _letters(self, source: RebuildSource, settled: Settled) -> Letters:
        self._step("reading the dead letters")
        return letters_to_leave_out(self._kafka, source.id_at, settled)

    def _fill(
        self, generation: NewGeneration, source: RebuildSource, taken: Taken, dead_letters: list[int]
    ) -> NewState:
        redis, report = self._settings.redis, self._report
        self._step("deleting what an earlier run left behind")
        generation.begin()
        generation.forget_others(self._deleted)
        keep, window_s = redis.recent_events, redis.window_minutes * 60
        state = NewState(generation, self._kafka.partitions, taken.lsn, keep, window_s)
        state.describe(source.contents())
        rows = counted = 0
        began_s = time.monotonic()
        for chunk in source.chunks(self._chunk_rows):
            self._unless_stopped()
            counted += state.count(source.counters(chunk))
            counted += state.count_without_content(source.without_content(chunk))
            state.add_users(source.users(chunk))
            state.add_recent(source.recent(chunk, keep))
            rows += chunk.rows
            self._tell(Progress("counting", rows, max(taken.estimated_rows, rows), time.monotonic() - began_s))
        self._unless_stopped()
        self._step("the window, the totals, and a comparison with SQL's")
        state.add_window(source.window(state.window_since_s()))
        state.finish(dead_letters)
        generation.flush()
        _check_totals(state.totals(), source.totals())
        report.events, report.contents = counted, state.contents
        report.refused = rows - counted - report.left_out
        report.future = sum(whole.future for whole in state.wholes)
        if taken.commit_times and state.without_commit_time:
            report.notes.append(
                f"PostgreSQL does not know any more when {state.without_commit_time:,} events were committed: "
                "of those event_ts counts alone"
            )
        return state

    def _switch(self, generation: NewGeneration, state: NewState, taken: Taken, joint: Joint) -> None:
        self._unless_stopped()
        for partition, whole in enumerate(state.wholes):
            self._step(f"putting partition {partition} in place")
            generation.switch(
                partition,
                {
                    "fence": joint.ends[partition],
                    "replays_fence": joint.replays[partition],
                    "clock_us": whole.clock_us,
                    "rebuilt_lsn": taken.lsn,
                    "rebuilt_fence": joint.ends[partition],
                    "rebuilt_until": joint.marks[partition],
                    "rebuilt_replays": joint.replays[partition],
                    "rebuilt_totals": packed(whole.counters),
                },
            )

    def _abandon(self, generation: NewGeneration) -> None:
        """What can be taken back is; what cannot, the next run deletes."""
        try:
            generation.abandon()
            generation.forget_others(self._deleted)
        except EngagementError:
            return

    def _waits(self, blockers: str) -> None:
        self._unless_stopped()
        if blockers:
            self._step(f"waiting for transactions that began before: {blockers}")

    def _deleted(self, _keys: int) -> None:
        return

    def _unless_stopped(self) -> None:
        if self._stop.is_set():
            raise Interrupted("stopped; nothing has changed")

    def _step(self, step: str) -> None:
        self._tell(Progress(step))

    def _timed(self) -> Report:
        self._report.seconds = time.monotonic() - self._began_s
        return self._report


def _check_captured(progress: CaptureProgress | None) -> None:
    if progress is None or progress.phase == "creating":
        raise Fatal(
            "capture has not begun yet: there is nothing that a rebuild could join",
            remedy="start it (./start.sh, or `engagement stream`): its first copy fills Redis by itself",
        )
    if progress.phase == "copying":
        raise Fatal(
            "capture's first copy of the existing events is still under way; it fills Redis by itself",
            remedy="wait until /health says `streaming`, then run it again if it is still needed",
        )


def _check_cluster(progress: CaptureProgress | None, identity: Identity, taken: Taken) -> None:
    """Positions of two clusters do not compare."""
    assert progress is not None
    if identity.system_identifier != progress.system_identifier:
        raise Fatal(
            f"this is another database cluster (system identifier {identity.system_identifier}) than the one that is "
            f"captured ({progress.system_identifier})",
            remedy="set DATABASE_URL back",
        )
    if taken.lsn < progress.end_lsn:
        raise Fatal(
            f"the server stands at {format_lsn(taken.lsn)}, before {format_lsn(progress.end_lsn)}, which was "
            "delivered: it was restored from an older state",
            remedy="see what capture says in /health, and mend that first",
        )


def _check_totals(found: tuple[int, ...], told: tuple[int, ...]) -> None:
    """What goes into Redis against one plain statement of SQL in the same snapshot."""
    if found != told:
        wrong = ", ".join(
            f"{name} {here} (SQL: {there})"
            for name, here, there in zip(COUNTERS, found, told, strict=True)
            if here != there
        )
        raise Fatal(
            f"the new totals are not SQL's: {wrong}; they were not put in place",
            remedy="this is a defect of engagement-stream: please report it",
        )

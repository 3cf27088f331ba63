"""Losses that must end in a loud stop with a remedy, each done to a running pipeline in a world of its own.

Going on would lose or double something: a trimmed topic, a dropped or remade slot, a Redis that forgot what the log no
longer holds. A stage passes when it halts and says what to do, and stays halted instead of trying again.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from engagement_stream.chaos.crew import Crew
from engagement_stream.chaos.kinds import STAGES
from engagement_stream.chaos.positions import Looker
from engagement_stream.chaos.recovery import Watch
from engagement_stream.chaos.world import ChaosWorld, Interrupted, started_world
from engagement_stream.errors import EngagementError
from engagement_stream.generate import batch
from engagement_stream.settings import Settings
from engagement_stream.stack.part import Report

_EVENTS = 400
_FLOWS_WITHIN_S = 180.0
_HALTS_WITHIN_S = 120.0
_STAYS_S = 3.0
_KAFKA_S = 30.0


@dataclass(frozen=True, slots=True)
class _Loss:
    """`damage` is done while `stages` are stopped and `upstream` has gone on; then each of them is started."""

    says: str
    stages: Sequence[str]
    upstream: Sequence[str]
    damage: Callable[[], None]


def halt_everything(directory: Path, stop: threading.Event, tell: Callable[[str], None], report: Report) -> list[str]:
    """What did not go as it must, in sentences; nothing it started is left. Raises Interrupted."""
    world = started_world(directory, report)
    crew: Crew | None = None
    watch: Watch | None = None
    try:
        crew = Crew(world.environment(), directory, lambda _sentence: None)
        crew.start()
        watch = Watch(Looker(world.settings()))
        watch.start()
        return _Scene(world, crew, watch, stop, tell).play()
    finally:
        if watch is not None:
            watch.stop()
        if crew is not None:
            crew.stop()
        world.stop()


class _Scene:
    def __init__(
        self, world: ChaosWorld, crew: Crew, watch: Watch, stop: threading.Event, tell: Callable[[str], None]
    ) -> None:
        self._world, self._crew, self._watch, self._stop, self._tell = world, crew, watch, stop, tell
        self._settings = world.settings()

    def play(self) -> list[str]:
        if not self._await(self._crew.flowing) or not self._flows(STAGES):
            return ["the pipeline did not begin to flow"]
        kafka = self._settings.kafka

        def forget_and_trim() -> None:
            with redis.Redis.from_url(self._settings.redis.url.get_secret_value()) as client:
                client.flushall()
            _trim(self._settings, kafka.enriched_topic)

        losses = (
            _Loss(
                "the enriched topic is trimmed above the sinks' positions, and Redis forgets its own",
                ("redis", "bigquery", "http"),
                ("capture", "enrich"),
                forget_and_trim,
            ),
            _Loss(
                "the raw topic is trimmed above enrich's position",
                ("enrich",),
                ("capture",),
                partial(_trim, self._settings, kafka.events_topic),
            ),
            _Loss("the replication slot is dropped", ("capture",), (), partial(_drop_slot, self._settings)),
            _Loss("the slot is made anew", ("capture",), (), partial(_make_slot, self._settings)),
        )
        return [sentence for loss in losses for sentence in self._suffer(loss)]

    def _suffer(self, loss: _Loss) -> list[str]:
        self._tell(f"{loss.says}:")
        for stage in loss.stages:
            self._crew.retire(stage)
        if not self._flows(loss.upstream):
            return [f"{' and '.join(loss.upstream)} did not go on while {', '.join(loss.stages)} stood still"]
        loss.damage()
        for stage in loss.stages:
            self._crew.enlist(stage)
        return [sentence for stage in loss.stages for sentence in self._must_halt(stage, loss)]

    def _must_halt(self, stage: str, loss: _Loss) -> list[str]:
        deadline_s = time.monotonic() + _HALTS_WITHIN_S
        while (report := self._crew.status(stage)) is None or report.state != "halted":
            self._pause(0.2)
            if time.monotonic() > deadline_s:
                return [f"{stage} does not halt although {loss.says}"]
        pid = self._crew.pid(stage)
        self._tell(f"  {stage} halts: {report.reason}\n    remedy: {report.remedy}")
        if not report.remedy:
            return [f"{stage} halts without a remedy although {loss.says}"]
        self._pause(_STAYS_S)
        if self._crew.pid(stage) != pid:
            return [f"{stage} halts and is started again, which would only repeat the finding"]
        return []

    def _flows(self, stages: Sequence[str]) -> bool:
        """Whether more events come as far as these stages."""
        batch(self._world.postgres.database_url, _EVENTS, stop=self._stop)
        return not stages or self._await(self._watch.mark(stages).over.is_set)

    def _await(self, condition: Callable[[], bool]) -> bool:
        deadline_s = time.monotonic() + _FLOWS_WITHIN_S
        while not condition():
            self._pause(0.1)
            if time.monotonic() > deadline_s:
                return False
        return True

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted


def _trim(settings: Settings, topic: str) -> None:
    """Delete every record, as retention does with old ones."""
    admin = AdminClient({**settings.kafka.client_config()})
    ends = [TopicPartition(topic, partition, -1) for partition in range(settings.kafka.partitions)]
    for answer in admin.delete_records(ends, operation_timeout=_KAFKA_S).values():
        answer.result(timeout=_KAFKA_S)


def _drop_slot(settings: Settings) -> None:
    """Its walsender may still be ending."""
    with psycopg.connect(settings.postgres.database_url.get_secret_value(), autocommit=True) as connection:
        for _ in range(100):
            try:
                connection.execute("select pg_drop_replication_slot(%s)", (settings.postgres.slot,))
            except psycopg.errors.ObjectInUse:
                time.sleep(0.1)
            else:
                return
    raise EngagementError("the slot stays in use although capture has ended")


def _make_slot(settings: Settings) -> None:
    with psycopg.connect(settings.postgres.database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (settings.postgres.slot,))

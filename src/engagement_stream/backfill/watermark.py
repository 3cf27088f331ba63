"""The watermark: a mark that follows, through every partition, all that the snapshot has seen.

A commit stands in the WAL before a snapshot can see it. So a message that is put into the WAL after the snapshot was
taken comes after all of its rows, in every partition: capture copies it to each, enrich passes it on. Once the BigQuery
sink's position is behind it everywhere, no event of the snapshot can arrive any more.

The one thing that does not come in order is the first copy: it is waited for.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from psycopg.rows import tuple_row

from engagement_stream.backfill.queries import QUERIES
from engagement_stream.backfill.snapshot import connect
from engagement_stream.broker.consumer import consumer, raise_unless_transient
from engagement_stream.broker.positions import committed
from engagement_stream.broker.topics import high_watermarks
from engagement_stream.capture.connect import translated
from engagement_stream.capture.progress import Progress, ProgressTopic
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import ConfigurationError, Retry
from engagement_stream.model.change import WATERMARK_PREFIX
from engagement_stream.model.engagement import Watermark, is_watermark
from engagement_stream.settings import KafkaSettings, PostgresSettings

PATIENCE_S = 60.0
"""So long the stage that is waited for may stand still."""
_LOOK_EVERY_S = 0.25
_TELL_AFTER_S = 3.0
_START = "start it (./start.sh, or python -m src.stream_processor --mode stream) and run this again"
_decode = msgspec.json.Decoder(Watermark).decode

Tell = Callable[[str], None]


@dataclass
class WatermarkPass:
    """One mark and how far it has come. `name` is found again in the log: nobody else uses it.

    `sink` None: it is enough that the mark is in the enriched topic.
    """

    postgres: PostgresSettings
    kafka: KafkaSettings
    name: str
    tell: Tell
    stopped: Callable[[], bool]
    patience_s: float = PATIENCE_S
    sink: str | None = "bigquery"
    _found: dict[int, int] = field(default_factory=dict)
    _waits_for: str = ""
    _seen: object = None
    _since_s: float = 0.0
    _began_s: float = 0.0
    _told: bool = False

    def run(self) -> bool:
        """Return once the mark is behind the sink's position; False when `stopped` came first.

        Call it after the snapshot was taken. Raises ConfigurationError where there is no pipeline, Retry when a
        stage stands still: the message names it and the partition.
        """
        while not self._copied():
            if self._pause():
                return False
        starts = high_watermarks(self.kafka, self.kafka.enriched_topic, self.kafka.partitions)
        lsn = self._emit()
        reader = consumer(self.kafka, f"{self.kafka.prefix}-backfill", **{"fetch.wait.max.ms": 50})
        try:
            reader.assign([TopicPartition(self.kafka.enriched_topic, p, start) for p, start in enumerate(starts)])
            while not self._passed(reader, lsn):
                if self._pause():
                    return False
        except KafkaException as error:
            raise Retry(f"{self.kafka.enriched_topic} cannot be read: {error.args[0].str()}") from error
        finally:
            reader.close()
        crash_point("backfill.after_watermark")
        return True

    def _copied(self) -> bool:
        """Whether the first copy is over: its rows come in no order with the stream."""
        progress = self._progress()
        if progress is None or progress.phase == "creating":
            raise ConfigurationError(f"no pipeline has read this database yet: {_START}.")
        if progress.phase == "streaming":
            return True
        copy = progress.copy
        self._wait("capture", f"its first copy of the table ({copy.rows if copy else 0:,} rows so far)", copy)
        return False

    def _emit(self) -> int:
        crash_point("backfill.before_emit")
        with translated(), connect(self.postgres, tuple_row) as connection:
            row = connection.execute(QUERIES["emit"], {"prefix": WATERMARK_PREFIX, "content": self.name}).fetchone()
            assert row is not None
            connection.execute(QUERIES["commit_something"])
        crash_point("backfill.after_emit")
        return int(row[0])

    def _passed(self, reader: Consumer, lsn: int) -> bool:
        self._look_for_it(reader)
        late = [p for p in range(self.kafka.partitions) if p not in self._found]
        if late:
            progress = self._progress()
            if progress is None or progress.end_lsn < lsn:
                self._wait("capture", "it has not read up to this moment", progress and progress.end_lsn)
            else:
                positions = committed(self.kafka, "enrich", self.kafka.events_topic)
                self._wait("enrich", f"partition {late[0]} of {self.kafka.events_topic}", positions)
            return False
        if self.sink is None:
            return True
        positions = committed(self.kafka, self.sink, self.kafka.enriched_topic)
        for partition, offset in self._found.items():
            at = positions[partition]
            if at is None or at <= offset:
                what = f"partition {partition} of {self.kafka.enriched_topic} (at {at or 0:,}, wanted {offset + 1:,})"
                self._wait(f"the {self.sink} sink", what, positions)
                return False
        return True

    def _look_for_it(self, reader: Consumer) -> None:
        if len(self._found) == self.kafka.partitions:
            return
        for message in reader.consume(10_000, _LOOK_EVERY_S) or []:
            problem = message.error()
            value, partition = message.value(), message.partition() or 0
            if problem is not None:
                if problem.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - public constant
                    raise_unless_transient(problem, self.kafka.enriched_topic)
            elif isinstance(value, bytes) and is_watermark(value) and _decode(value).watermark == self.name:
                self._found.setdefault(partition, message.offset() or 0)

    def _progress(self) -> Progress | None:
        return ProgressTopic(self.kafka, self.postgres.slot).read().progress

    def _wait(self, stage: str, what: str, seen: object) -> None:
        """Note who is waited for. Raises Retry when that one has not moved for `patience_s`."""
        now_s = time.monotonic()
        if stage != self._waits_for:
            self._waits_for, self._seen, self._since_s, self._began_s, self._told = stage, seen, now_s, now_s, False
        if not self._told and now_s - self._began_s > _TELL_AFTER_S:
            self._told = True
            self.tell(f"waiting for {stage}: {what}")
        if seen != self._seen:
            self._seen, self._since_s = seen, now_s
        elif now_s - self._since_s > self.patience_s:
            raise Retry(
                f"{stage} has stood still for {self.patience_s:.0f} s, waited for: {what}. Live events that are on "
                f"their way could be inserted twice, so nothing was inserted. If the pipeline does not run, {_START}."
            )

    def _pause(self) -> bool:
        time.sleep(_LOOK_EVERY_S)
        return self.stopped()


def require_no_sink(kafka: KafkaSettings, postgres: PostgresSettings, sink: str = "bigquery") -> None:
    """That `--without-live` is safe: nothing was ever streamed into the table, nor will the first start do so.

    Raises ConfigurationError, Retry.
    """
    if any(offset is not None for offset in committed(kafka, sink, kafka.enriched_topic).values()):
        raise ConfigurationError(
            f"--without-live: the group {kafka.group(sink)} has delivered into this table, and what is still on its "
            f"way could be inserted twice: leave the option out. If the pipeline does not run, {_START}."
        )
    if postgres.snapshot != "never":
        raise ConfigurationError(
            "--without-live: the pipeline's first start would copy these days into the table again: set "
            "CAPTURE_SNAPSHOT=never (in .env, for good), or start the pipeline now and leave the option out."
        )

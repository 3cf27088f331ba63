"""Reads the content topic into the catalog: whole at the start, then on, when an event needs it.

There is no thread: who waits for a content change polls for it, and an idle stage polls now and then.
"""

import time
from typing import Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from engagement_stream.broker.consumer import consumer, raise_unless_transient
from engagement_stream.broker.topics import high_watermarks
from engagement_stream.crashpoint import crash_point
from engagement_stream.enrich.catalog import Catalog
from engagement_stream.enrich.storable import CONTENT_UNREADABLE
from engagement_stream.errors import Retry
from engagement_stream.model.change import decode_content_change
from engagement_stream.model.position import Position, format_lsn
from engagement_stream.settings import KafkaSettings

_BATCH: Final = 1_000  # 5,000 take 6 MB more at the start
_OPEN_TIMEOUT_S: Final = 60.0


class CatalogReader:
    """Keeps `catalog` up to date. One thread only."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._topic = kafka.content_topic
        self.catalog = Catalog()
        self.unreadable = 0
        self._reader: Consumer | None = None
        self._next = 0

    def open(self) -> None:
        """Read the topic whole, past its present end. Raises Retry; a second call goes on where the first stopped.

        Whole *before* the first event is answered: compaction may have replaced a version by a much later one, and
        an early answer would take the content for unknown instead of seeing that its history is gone.
        """
        crash_point("enrich.before_catalog")
        if self._reader is None:
            self._reader = consumer(
                self._kafka,
                f"{self._kafka.prefix}-catalog",
                # The end is told by an empty fetch, and the first copy is whole only at the end: a short fetch wait.
                # Little at once: what is fetched is unpacked to several times its size, and that memory stays taken.
                **{"queued.max.messages.kbytes": 1_024, "fetch.message.max.bytes": 262_144, "fetch.wait.max.ms": 100},
            )
            self._reader.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        end = high_watermarks(self._kafka, self._topic, 1)[0]
        self._read_to(end, time.monotonic() + _OPEN_TIMEOUT_S)
        crash_point("enrich.after_catalog")

    def follow(self) -> None:
        """Take in what is there; does not wait."""
        self._poll(0)

    def wait_for(self, position: Position, timeout_s: float) -> None:
        """Return once the catalog covers `position`. Raises Retry when it does not within `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        catalog = self.catalog
        while not catalog.covers(position):
            if catalog.newest >= position:
                # Its records may be many (the first copy): make sure of the end as it is *now*.
                end = high_watermarks(self._kafka, self._topic, 1)[0]
                self._read_to(end, deadline_s)
                catalog.at_end(certain=True)
                return
            self._poll(min(0.1, max(deadline_s - time.monotonic(), 0)))
            if catalog.newest < position and time.monotonic() > deadline_s:
                end = high_watermarks(self._kafka, self._topic, 1)[0]
                self._read_to(end, deadline_s + timeout_s)
                if catalog.newest >= position or catalog.presume_whole(position):
                    continue
                raise Retry(
                    f"events refer to a content change at {format_lsn(position[0])} that is not in {self._topic}, "
                    f"which ends at {format_lsn(catalog.newest[0])}: was the topic trimmed or made anew?"
                )

    def close(self) -> None:
        """Drop the connection; what was read stays."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _read_to(self, end: int, deadline_s: float) -> None:
        while self._next < end:
            before = self._next
            self._poll(0.1)
            if self._next == before and time.monotonic() > deadline_s:
                raise Retry(f"{self._topic} could not be read to offset {end} yet, it stands at {self._next}")

    def _poll(self, wait_s: float) -> None:
        assert self._reader is not None, "open it first"
        try:
            first = self._reader.poll(wait_s)
            if first is None:
                return
            messages = [first, *(self._reader.consume(_BATCH, 0) or ())]
        except KafkaException as error:
            raise Retry(f"{self._topic} cannot be read: {error.args[0].str()}") from error
        for message in messages:
            problem = message.error()
            offset = message.offset() or 0
            if problem is None:
                self._take(message.key(), message.value(), offset)
                self._next = offset + 1
            elif problem.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public constant
                self._next = max(self._next, offset)
                self.catalog.at_end(certain=False)
            else:
                raise_unless_transient(problem, self._topic)

    def _take(self, key: str | bytes | None, value: str | bytes | None, offset: int) -> None:
        if value is None:
            return  # a tombstone of somebody's; deletions are records of their own
        try:
            self.catalog.add(decode_content_change(value))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.unreadable += 1
            content_id = key.decode(errors="replace") if isinstance(key, bytes) else key or ""
            self.catalog.add_unreadable(
                content_id, (CONTENT_UNREADABLE, f"the record of its content at {self._topic}[0]@{offset} is malformed")
            )

"""Capture's own position: a compacted topic whose records are written in the transaction of the rows they cover.

Under the slot's name lies the Progress; under `<slot>/delivered/<n>` lie the ids that the first copy has to pass
over (see `first_images`), one record for each transaction that found some.
"""

from typing import Literal

import msgspec

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.transaction import Outbox
from engagement_stream.errors import Fatal
from engagement_stream.model.position import BEGINNING, Position
from engagement_stream.settings import KafkaSettings

FORMAT_VERSION = 1


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """What the first copy needs to go on after a crash."""

    consistent_point: int
    snapshot: str
    """`pg_current_snapshot()` of the session that imported the slot's snapshot: xmin:xmax:xip,..."""
    taken_us: int
    """The source's clock at that moment, microseconds since 1970."""
    catalog: Position
    filenode: int
    """Of the events table: another one means that its rows were rewritten or truncated."""
    max_id: int
    """No event of the snapshot has a higher id."""
    last_id: int | None = None
    """Every event of the snapshot up to this id is delivered."""
    rows: int = 0
    delivered_records: int = 0
    """How many `<slot>/delivered/<n>` records there are."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where capture goes on. LSNs are numbers, see `model.position.format_lsn`."""

    v: int = FORMAT_VERSION
    phase: Literal["creating", "copying", "streaming"]
    system_identifier: str
    timeline: int
    end_lsn: int = 0
    """Every transaction that ends here or before is delivered whole."""
    commit_lsn: int = 0
    next_index: int = 0
    """Of the transaction with this commit LSN, which ends later, every record below this index is delivered too."""
    catalog: Position = BEGINNING
    """Position of the last content record."""
    commit_ts_us: int = 0
    """Commit time of the last delivered transaction; tells a person from where to backfill after a loss."""
    copy: Copy | None = None


class Resume(msgspec.Struct, frozen=True):
    """What the topic says: the progress, None if there never was any, and the delivered ids."""

    progress: Progress | None
    delivered: tuple[int, ...]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Progress).decode
_decode_ids = msgspec.json.Decoder(tuple[int, ...]).decode


class ProgressTopic:
    """Reads and writes the records of one slot."""

    def __init__(self, kafka: KafkaSettings, slot: str) -> None:
        self._kafka = kafka
        self._key = slot.encode()

    def read(self) -> Resume:
        """To the topic's end. Call it after the outbox was renewed: then no older process can add to it."""
        latest: bytes | None = None
        delivered: dict[bytes, bytes] = {}
        prefix = self._key + b"/delivered/"
        for message in read_range(self._kafka, self._kafka.progress_topic, 0, 0):
            key, value = message.key(), message.value()
            if key == self._key:
                latest = value
            elif isinstance(key, bytes) and key.startswith(prefix):
                if value is None:
                    delivered.pop(key, None)
                else:
                    delivered[key] = value
        try:
            progress = None if latest is None else _decode(latest)
            ids = tuple(i for value in delivered.values() for i in _decode_ids(value))
        except msgspec.MsgspecError as error:
            raise self._unreadable(str(error)) from error
        if progress is not None and progress.v != FORMAT_VERSION:
            raise self._unreadable(f"its format is version {progress.v}")
        return Resume(progress, ids)

    def write(self, outbox: Outbox, progress: Progress) -> None:
        """Within the open transaction."""
        outbox.produce(self._kafka.progress_topic, _encode(progress), self._key, 0)

    def write_delivered(self, outbox: Outbox, number: int, ids: list[int]) -> None:
        outbox.produce(self._kafka.progress_topic, _encode(ids), self._delivered_key(number), 0)

    def forget_delivered(self, outbox: Outbox, count: int) -> None:
        """Tombstones: the first copy is over."""
        for number in range(count):
            outbox.produce(self._kafka.progress_topic, None, self._delivered_key(number), 0)

    def _delivered_key(self, number: int) -> bytes:
        return b"%b/delivered/%d" % (self._key, number)

    def _unreadable(self, detail: str) -> Fatal:
        return Fatal(
            f"the record of capture's progress in {self._kafka.progress_topic} cannot be read: {detail}",
            remedy="run the version of engagement-stream that wrote it",
        )

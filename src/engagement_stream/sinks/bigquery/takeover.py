"""Taking over partitions: fence whoever wrote before us, find the true position, begin a stream of our own.

1. Read the checkpoint {stream, rows} at offset K.
2. Finalize that stream: from now on it takes nothing, from nobody, and says how many rows it has taken, C.
3. Read C - rows records forward from K: that is the true position K'.
4. Create a new stream and commit {new stream, 0} at K'. Only then may anything be appended to it.

Dying at any step leaves at worst a stream that nobody knows and nothing was written to. A twin that does these steps
at the same time is fenced by Kafka at step 4: the commit of an old generation is refused.

Where no stream can tell (it is unknown, forgotten, of another table, or the metadata is gone) the table does: its
greatest offset of the partition. What that cannot do is keep out a frozen twin whose stream we do not know the name
of; it takes somebody who erases our metadata *and* a process frozen in the middle of an append.
"""

from collections.abc import Iterator, Mapping, Sequence

from google.api_core import exceptions as foreign
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal
from engagement_stream.model.engagement import is_watermark
from engagement_stream.observe.log import log
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.base import Checkpoint, Road
from engagement_stream.sinks.bigquery.checkpoint import Mark, Record, after_rows, decode_mark, from_table
from engagement_stream.sinks.bigquery.client import WriteChannel, rest_client, uses_emulator
from engagement_stream.sinks.bigquery.errors import translated
from engagement_stream.sinks.bigquery.lane import Lane
from engagement_stream.sinks.bigquery.table import ensure_table, last_offsets, table_path

_TIMEOUT_S = 30.0


class Takeover:
    """One opening."""

    def __init__(self, settings: BigQuerySettings, channel: WriteChannel, road: Road) -> None:
        self._settings, self._channel, self._road = settings, channel, road
        self._path = table_path(settings)
        self._in_table: dict[int, int] | None = None

    def lanes(self, partitions: Sequence[int]) -> dict[int, Lane]:
        """A lane with a stream of its own for each partition. Raises Retry, Reopen, Fatal."""
        with translated("connecting"):
            client = rest_client(self._settings)
        try:
            ensure_table(client, self._settings)
            positions = self._positions(client, partitions)
        finally:
            client.close()  # type: ignore[no-untyped-call]  # untyped upstream
        lanes = {
            partition: Lane(self._road.topic, partition, self._create_stream(), position)
            for partition, position in positions.items()
        }
        crash_point("bigquery.before_first_commit")
        self._road.commit({partition: lane.checkpoint() for partition, lane in lanes.items()})
        crash_point("bigquery.after_first_commit")
        return lanes

    def _positions(self, client: bigquery.Client, partitions: Sequence[int]) -> dict[int, int]:
        positions: dict[int, int] = {}
        for partition, point in self._road.committed(partitions).items():
            position = self._by_stream(partition, point)
            if position is None:
                position = self._by_table(client, partition, point)
            elif uses_emulator(self._settings):
                position = self._believed(client, partition, position)
            positions[partition] = position
        return positions

    def _by_stream(self, partition: int, point: Checkpoint | None) -> int | None:
        mark = decode_mark(point.metadata) if point is not None else None
        if point is None or mark is None:
            return None
        count = self._finalize(mark)
        if count is None or not mark.stream.startswith(f"{self._path}/streams/"):
            return None
        walk = _walk(self._road, partition, point.offset)
        position = after_rows(self._place(partition), point.offset, mark, count, walk)
        crash_point("bigquery.after_walk")
        return position

    def _finalize(self, mark: Mark) -> int | None:
        """Rows in the stream, which takes no more from now on; None where that cannot be known."""
        crash_point("bigquery.before_finalize")
        try:
            with translated("finalizing the former stream"):
                try:
                    answer = self._channel.client.finalize_write_stream(
                        name=mark.stream, timeout=_TIMEOUT_S, retry=None
                    )
                except (foreign.NotFound, foreign.InvalidArgument, foreign.FailedPrecondition) as error:
                    # Unknown, forgotten after days without use, or closed before: in no case does it take rows.
                    log().warning("the former write stream cannot be asked, the table is", reason=str(error)[:300])
                    return None
        finally:
            crash_point("bigquery.after_finalize")
        return int(answer.row_count)

    def _by_table(self, client: bigquery.Client, partition: int, point: Checkpoint | None) -> int:
        """The committed offset counts only where it is of this table, which its metadata tells."""
        mark = decode_mark(point.metadata) if point is not None else None
        of_other_table = mark is not None and not mark.stream.startswith(f"{self._path}/streams/")
        return from_table(
            self._place(partition),
            None if point is None or of_other_table else point.offset,
            self._last(client).get(partition),
            self._road.begins_at([partition])[partition],
            self._road.ends_at([partition])[partition],
        )

    def _believed(self, client: bigquery.Client, partition: int, position: int) -> int:
        """An emulator's count, held against its table: bqemulator counts rows before it has stored them."""
        last = self._last(client).get(partition)
        if last is not None and last >= position:
            raise Fatal(
                f"the table knows {self._place(partition)} up to offset {last}, its write stream only to {position}",
                remedy="somebody else writes this table: give this stage a BIGQUERY_DATASET_ID of its own",
            )
        missing = self._road_rows(partition, 0 if last is None else last + 1, position)
        if missing is None:
            return position
        log().warning("the emulator counted rows that it has not stored", partition=partition, offset=missing)
        return missing

    def _road_rows(self, partition: int, start: int, end: int) -> int | None:
        """Offset of the first record in [start, end) that makes a row."""
        if start >= end or self._road.begins_at([partition])[partition] > start:
            return None
        return next((offset for offset, makes_row in _walk(self._road, partition, start, end) if makes_row), None)

    def _last(self, client: bigquery.Client) -> Mapping[int, int]:
        if self._in_table is None:
            crash_point("bigquery.before_look")
            self._in_table = last_offsets(client, self._settings, self._road.topic)
            crash_point("bigquery.after_look")
        return self._in_table

    def _create_stream(self) -> str:
        crash_point("bigquery.before_create_stream")
        with translated("creating a write stream"):
            stream = self._channel.client.create_write_stream(
                parent=self._path,
                write_stream=types.WriteStream(type_=types.WriteStream.Type.COMMITTED),
                timeout=_TIMEOUT_S,
                retry=None,
            )
        crash_point("bigquery.after_create_stream")
        return str(stream.name)

    def _place(self, partition: int) -> str:
        return f"{self._road.topic}[{partition}]"


def _walk(road: Road, partition: int, start: int, end: int | None = None) -> Iterator[Record]:
    """Records of a partition from `start` on; nothing is read before the first is asked for."""
    for message in road.read(partition, start, end):
        yield message.offset() or 0, not is_watermark(message.value() or b"")

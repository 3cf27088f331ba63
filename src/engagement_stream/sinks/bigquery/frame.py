"""Frames: what goes to BigQuery in one append, at its offset in the stream; the same bytes however often it is sent."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.cloud.bigquery_storage_v1 import types

from engagement_stream.sinks.bigquery.rows import SCHEMA, Rows, record_batch

MAX_BYTES = 9_000_000
"""The service takes less than 10 MB (of late 20) a request."""
MAX_ROWS = 10_000
_ROW_OVERHEAD_BYTES = 64

_SCHEMA_BYTES = SCHEMA.serialize().to_pybytes()


@dataclass(slots=True)
class Frame:
    """`first`: its offset in the write stream; `end`: the partition's position once its rows are there."""

    first: int
    end: int
    rows: Rows
    data: bytes
    alive: int
    """Rows that are events and no placeholders."""
    live_commit_ts_us: list[int]
    """Commit times of those that came by the live stream."""
    sends: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def request(self, stream: str, *, opening: bool) -> types.AppendRowsRequest:
        """The first request of a connection names the stream and the schema; the others need not.

        Made of the generated classes underneath: the friendlier ones copy the rows at every level.
        """
        request = types.AppendRowsRequest.pb()()
        request.offset.value = self.first
        request.arrow_rows.rows.serialized_record_batch = self.data
        if opening:
            request.write_stream = stream
            request.trace_id = "engagement-stream:sink"
            request.arrow_rows.writer_schema.serialized_schema = _SCHEMA_BYTES
        wrapped: types.AppendRowsRequest = types.AppendRowsRequest.wrap(request)
        return wrapped


def frames(rows: Rows, first: int, end: int, topic: str, partition: int, max_bytes: int = MAX_BYTES) -> list[Frame]:
    """The rows cut into frames, in order; only a single row may be larger than `max_bytes`."""
    made: list[Frame] = []
    for part in _parts(rows, len(topic), max_bytes):
        made += _fitting(part, first, topic, partition, max_bytes)
        first = made[-1].first + len(made[-1])
    if made:
        made[-1].end = end
    return made


def _fitting(rows: Rows, first: int, topic: str, partition: int, max_bytes: int) -> list[Frame]:
    data = record_batch(rows, topic, partition).serialize().to_pybytes()
    if len(data) <= max_bytes or len(rows) == 1:
        live = rows.live_commit_ts_us()
        rows.forget()
        return [Frame(first, rows.offsets[-1] + 1, rows, data, len(rows) - len(rows.dead), live)]
    middle = len(rows) // 2
    return [
        *_fitting(rows.part(0, middle), first, topic, partition, max_bytes),
        *_fitting(rows.part(middle, len(rows)), first + middle, topic, partition, max_bytes),
    ]


def _parts(rows: Rows, topic_bytes: int, max_bytes: int) -> Iterator[Rows]:
    """By the records' own size: as JSON they are hardly ever smaller than as columns."""
    begin, size = 0, 0
    overhead = topic_bytes + _ROW_OVERHEAD_BYTES
    if 0 < len(rows) <= MAX_ROWS and sum(map(len, rows.values)) + len(rows) * overhead <= max_bytes:
        yield rows
        return
    for index, value in enumerate(rows.values):
        size += len(value) + overhead
        if index > begin and (size > max_bytes or index - begin >= MAX_ROWS):
            yield rows.part(begin, index)
            begin, size = index, len(value) + overhead
    if begin < len(rows):
        yield rows if begin == 0 else rows.part(begin, len(rows))

"""The BigQuery sink: each partition appends to a committed stream of its own, at explicit offsets.

The stream is the fence, and its row count is the truth:

1. Take over: finalize the stream that the checkpoint names. Its former owner can append no more, and the answer
   is the exact number of rows C. The checkpoint says that `rows` of them reach up to its offset, so the records
   after it are read until C - rows more are counted: there the log goes on.
2. Make a new stream and commit {new stream, 0 rows, that offset} before the first append.
3. Append; only an unambiguous success moves the position. Anything else goes back to step 1.
4. Commit {stream, rows, offset} after each write. It may lag behind or fail: step 1 finds what is missing.

ALREADY_EXISTS is never believed: it compares offsets, not rows.
"""

import contextlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from google.cloud.bigquery import Client

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.model.engagement import Engagement, decode_engagement, is_watermark
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.base import Gather, Receipt, Road, Slice
from engagement_stream.sinks.bigquery.checkpoint import checkpoint, marked
from engagement_stream.sinks.bigquery.client import rest_client, write_client
from engagement_stream.sinks.bigquery.errors import StreamGone, translated
from engagement_stream.sinks.bigquery.resume import offset_from_table
from engagement_stream.sinks.bigquery.rows import Record, arrow_rows, live_commit_times, refused
from engagement_stream.sinks.bigquery.stream import WriteStreams
from engagement_stream.sinks.bigquery.table import ensure_table, stream_parent
from engagement_stream.sinks.decode import Decoded, decode

STAGE = "bigquery"
_MAX_RECORDS = 10_000
_APPEND_ROWS = 5_000
_APPEND_BYTES = 4 << 20  # of records; with a record of 6 MB behind it still below the 9 MB of a request
_THREADS = 8


@dataclass(slots=True)
class _Lane:
    """One partition's stream; `rows` are in it for certain."""

    partition: int
    stream: str
    rows: int = 0


@dataclass(slots=True)
class _Written:
    """What one partition's write came to."""

    durable: int
    records: int = 0
    commit_ts_us: list[int] = field(default_factory=list)


class BigQuerySink:
    """Implements `sinks.base.Sink`."""

    name = STAGE

    def __init__(self, settings: BigQuerySettings, *, call_s: float = 30.0) -> None:
        self._settings = settings
        self._call_s = call_s
        self._lanes: dict[int, _Lane] = {}
        self._road: Road | None = None
        self._rest: Client | None = None
        self._streams: WriteStreams | None = None
        self._table_is_there = False
        self._pool: ThreadPoolExecutor | None = None
        self._letters = threading.Lock()

    @property
    def gather(self) -> Gather:
        """For as long as PROCESSING_INTERVAL_SECONDS: an append costs the same for ten rows and a thousand."""
        return Gather(max_records=_MAX_RECORDS, linger_s=self._settings.interval_s)

    def open(self, partitions: Sequence[int], road: Road) -> Mapping[int, int]:
        """Fence the former owners and go on exactly behind the last row that is in the table."""
        self._lanes = {}
        rest, streams = self._clients()
        if not self._table_is_there:
            with translated("making the table"):
                ensure_table(rest, self._settings)
            self._table_is_there = True
        starts: dict[int, int] = {}
        lanes: dict[int, _Lane] = {}
        for partition, point in road.committed(partitions).items():
            mark = marked(point)
            if point is not None and mark is not None:
                try:
                    rows = streams.finalize(mark.stream)
                    starts[partition] = _behind(road, partition, point.offset, rows - mark.rows)
                except StreamGone:
                    starts[partition] = offset_from_table(rest, self._settings, road, partition, point)
            else:
                starts[partition] = offset_from_table(rest, self._settings, road, partition, point)
            lanes[partition] = _Lane(partition, streams.create())
        road.commit({p: checkpoint(starts[p], lane.stream, 0) for p, lane in lanes.items()})
        self._lanes, self._road = lanes, road
        return starts

    def write(self, slices: Sequence[Slice]) -> Receipt:
        """Append the slices, partitions side by side."""
        road = self._road
        if road is None or any(piece.partition not in self._lanes for piece in slices):
            raise Reopen("the BigQuery sink is not open")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="bigquery-append")
        written = dict(
            zip(
                [piece.partition for piece in slices],
                self._pool.map(lambda piece: self._write_one(piece, road), slices),
                strict=True,
            )
        )
        durable = {partition: result.durable for partition, result in written.items()}
        with contextlib.suppress(Retry):  # the rows are durable all the same; the checkpoint may lag
            road.commit(
                {p: checkpoint(offset, self._lanes[p].stream, self._lanes[p].rows) for p, offset in durable.items()}
            )
        return Receipt(
            durable,
            sum(result.records for result in written.values()),
            [ts_us for result in written.values() for ts_us in result.commit_ts_us],
        )

    def close(self) -> None:
        """Give everything up; the streams are left for the next owner to finalize."""
        self._lanes = {}
        self._road = None
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _clients(self) -> tuple[Client, WriteStreams]:
        if self._rest is None or self._streams is None:
            with translated("connecting"):
                self._rest = rest_client(self._settings)
                self._streams = WriteStreams(write_client(self._settings), stream_parent(self._settings), self._call_s)
        return self._rest, self._streams

    def _write_one(self, piece: Slice, road: Road) -> _Written:
        """One partition, in requests of bounded size, in order; runs in a thread of the pool."""
        lane = self._lanes[piece.partition]
        result = _Written(piece.end)
        read = decode(piece, decode_engagement, stage=STAGE, topic=road.topic)
        self._dead_letter(road, read.letters)
        for records in _requests(_records(piece, read)):
            kept = self._append(lane, records, road)
            result.records += sum(record.event is not None for record in kept)
            result.commit_ts_us += live_commit_times(kept)
        return result

    def _dead_letter(self, road: Road, letters: Sequence[DeadLetter]) -> None:
        """Before the rows that stand for them; one thread at a time."""
        if letters:
            with self._letters:
                road.dead_letter(letters)

    def _append(self, lane: _Lane, records: list[Record], road: Road) -> list[Record]:
        """Append until the server takes them; what it refuses becomes a placeholder. Returns what was written."""
        assert self._streams is not None
        while True:
            refusal = self._streams.append(lane.stream, lane.rows, arrow_rows(road.topic, lane.partition, records))
            if refusal is None:
                lane.rows += len(records)
                return records
            guilty = [i for i in refusal.rows if records[i].event is not None]
            if not guilty and len(records) > 1:  # it does not say which: find out by halves, still in order
                half = len(records) // 2
                return [*self._append(lane, records[:half], road), *self._append(lane, records[half:], road)]
            if not guilty and records[0].event is None:
                raise Fatal(
                    f"BigQuery refuses even a placeholder row: {refusal.detail}",
                    remedy="look for a required column or a policy on the table that our rows do not meet",
                )
            guilty = guilty or [0]
            self._dead_letter(road, [_letter(road.topic, lane.partition, records[i], refusal.detail) for i in guilty])
            records = [refused(r) if i in set(guilty) else r for i, r in enumerate(records)]


def _records(piece: Slice, read: Decoded[Engagement]) -> list[Record]:
    """The row-bearing records of a slice, malformed ones as placeholders."""
    events = dict(zip(read.offsets, read.events, strict=True))
    return [
        Record(offset, value, events.get(offset))
        for offset, value in zip(piece.offsets, piece.values, strict=True)
        if not is_watermark(value)
    ]


def _requests(records: list[Record]) -> list[list[Record]]:
    """Cut by rows and by bytes, at least one record each."""
    requests: list[list[Record]] = []
    size = 0
    for record in records:
        if not requests or len(requests[-1]) >= _APPEND_ROWS or size + len(record.value) > _APPEND_BYTES:
            requests.append([])
            size = 0
        requests[-1].append(record)
        size += len(record.value)
    return requests


def _behind(road: Road, partition: int, offset: int, rows: int) -> int:
    """The offset behind the next `rows` row-bearing records from `offset` on."""
    if rows < 0:
        raise Fatal(
            f"the stream of partition {partition} has {-rows} rows fewer than were acknowledged",
            remedy="rows were lost in BigQuery: compare the table with the topic, then reset this group's offset "
            "without metadata to go on from what the table holds",
        )
    if rows:
        for message in road.read(partition, offset):
            if not is_watermark(message.value() or b""):
                rows -= 1
                if not rows:
                    return (message.offset() or 0) + 1
        raise Fatal(
            f"BigQuery has {rows} rows more of partition {partition} than the log",
            remedy="the topic was made anew, or another pipeline writes to the same table: use a dataset of its own",
        )
    return offset


def _letter(topic: str, partition: int, record: Record, detail: str) -> DeadLetter:
    return DeadLetter(STAGE, topic, partition, record.offset, None, record.value, "refused", detail)

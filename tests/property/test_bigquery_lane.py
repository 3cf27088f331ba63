"""A lane against a write stream that loses requests and answers at will: every record is one row, in order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types
from google.rpc import status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engagement_stream.errors import Reopen
from engagement_stream.model.engagement import is_watermark
from engagement_stream.sinks.bigquery.checkpoint import after_rows, decode_mark
from engagement_stream.sinks.bigquery.errors import Answer
from engagement_stream.sinks.bigquery.frame import Frame
from engagement_stream.sinks.bigquery.lane import Lane
from engagement_stream.sinks.bigquery.rows import SCHEMA
from tests.fixtures.engagements import record, watermark
from tests.fixtures.road import MemoryLog

NOW = datetime(2025, 11, 24, tzinfo=UTC)
STREAM = "projects/p/datasets/d/tables/t/streams/{}"


@dataclass
class ModelStream:
    """A committed stream as documented: rows at the next offset, all of a request or none."""

    refuses: Callable[[int], bool]
    rows: list[dict[str, object]] = field(default_factory=list)
    finalized: bool = False

    def append(self, frame: Frame, *, names_rows: bool) -> types.AppendRowsResponse:
        if self.finalized:
            return failed(9)
        if frame.first != len(self.rows):
            return failed(6 if frame.first < len(self.rows) else 11)
        rows = pa.ipc.read_record_batch(pa.py_buffer(frame.data), SCHEMA).to_pylist()
        bad = [i for i, row in enumerate(rows) if not row["_dlq"] and self.refuses(row["event_id"])]
        if bad:
            answer = failed(3)
            if names_rows:
                answer.row_errors = [types.RowError(index=i, message="refused") for i in bad]
            return answer
        self.rows += rows
        return types.AppendRowsResponse(append_result={"offset": frame.first})


def failed(code: int) -> types.AppendRowsResponse:
    return types.AppendRowsResponse(error=status_pb2.Status(code=code, message="failed"))


# Each example encodes and decodes Arrow batches: slow while the machine is busy, and that is all.
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.lists(st.sampled_from(["event", "event", "event", "mark", "bad", "malformed"]), max_size=25))
def test_every_record_is_one_row_whatever_is_lost(data: st.DataObject, kinds: list[str]) -> None:
    """Lost requests, lost answers, refused rows, processes that die and come back: the table is the log."""
    log = MemoryLog()
    make: dict[str, Callable[[int], bytes]] = {
        "event": record,
        "bad": lambda n: record(n + 1_000),
        "mark": lambda _: watermark(),
        "malformed": lambda _: b"{",
    }
    values = [make[kind](number) for number, kind in enumerate(kinds)]
    while values:
        some = data.draw(st.integers(1, len(values)), "in one transaction")
        log.append(0, values[:some])
        values = values[some:]
    end = log.ends.get(0, 0)
    streams = [ModelStream(lambda event: event >= 1_000)]
    lane = Lane(log.topic, 0, STREAM.format(0), 0, max_bytes=2_000)
    checkpoint = lane.checkpoint()
    letters: dict[bytes, str] = {}
    losses = 40

    while lane.position < end:
        if not lane.frames or data.draw(st.booleans(), "more comes"):
            lane.offer(log.slice(0, lane.position, data.draw(st.integers(lane.position, end), "offered up to")), NOW)
        letters |= {letter.name: letter.reason for letter in lane.letters}
        lane.letters = []
        # A sending of all frames; the connection may break before, among or behind the requests and answers.
        sent = list(lane.frames)
        for frame in sent:
            frame.sends += 1
        arrive = data.draw(st.integers(0, len(sent)), "arrive") if losses > 0 else len(sent)
        answers = [streams[-1].append(f, names_rows=data.draw(st.booleans(), "named")) for f in sent[:arrive]]
        heard = data.draw(st.integers(0, arrive), "answers heard") if losses > 0 else arrive
        losses -= heard < len(sent)
        for answer in answers[:heard]:
            if lane.judge(answer) is not Answer.DONE:
                break
        if data.draw(st.booleans(), "commits"):
            checkpoint = lane.checkpoint()
        if losses > 0 and data.draw(st.integers(0, 4), "dies") == 0:
            losses -= 1
            mark = decode_mark(checkpoint.metadata)
            assert mark is not None
            streams[-1].finalized = True
            counted = [(o, not is_watermark(v)) for o, v in log.records[0] if o >= checkpoint.offset]
            position = after_rows("t[0]", checkpoint.offset, mark, len(streams[-1].rows), counted)
            zombie, stream = lane, streams[-1]
            streams.append(ModelStream(stream.refuses))
            lane = Lane(log.topic, 0, STREAM.format(len(streams)), position, max_bytes=2_000)
            checkpoint = lane.checkpoint()
            for frame in list(zombie.frames)[:1]:
                try:
                    assert zombie.judge(stream.append(frame, names_rows=True)) is not Answer.DONE
                except Reopen:
                    continue

    table = [row for stream in streams for row in stream.rows]
    expected = [(o, v) for o, v in log.records.get(0, []) if not is_watermark(v)]
    assert [row["_offset"] for row in table] == [offset for offset, _ in expected]
    alive = [row["event_id"] for row in table if not row["_dlq"]]
    assert alive == [number for number, kind in enumerate(kinds) if kind == "event"]
    assert len(letters) == kinds.count("bad") + kinds.count("malformed")

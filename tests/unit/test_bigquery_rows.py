"""Records become rows, one each, whatever they hold."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
import pytest

from engagement_stream.errors import Fatal
from engagement_stream.sinks.base import Slice
from engagement_stream.sinks.bigquery.frame import frames
from engagement_stream.sinks.bigquery.rows import (
    OUT_OF_RANGE,
    PAYLOAD,
    SCHEMA,
    Rows,
    read_rows,
    record_batch,
)
from engagement_stream.sinks.bigquery.table import COLUMNS, missing_columns
from tests.fixtures.engagements import COMMIT_TS_US, engagement, iso, record, watermark

NOW = datetime(2025, 11, 24, 12, tzinfo=UTC)
RESERVED = ("_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER", "_CHANGE_")
"""BigQuery documentation, "Specifying a schema": no column name may begin with one of these, in either case."""
ARROW = {"INTEGER": pa.int64(), "STRING": pa.string(), "JSON": pa.string(), "FLOAT": pa.float64(),
         "BOOLEAN": pa.bool_(), "TIMESTAMP": pa.timestamp("us", "UTC")}  # fmt: skip


def read(*values: bytes, first: int = 0) -> tuple[Rows, list[str]]:
    """Rows of a slice, and the reasons of its letters."""
    offsets = list(range(first, first + len(values)))
    rows, letters = read_rows(Slice(3, first, first + len(values), offsets, list(values)), "topic", NOW)
    return rows, [letter.reason for letter in letters]


def changed(number: int, **fields: object) -> bytes:
    """A record with some fields as they should not be."""
    return json.dumps(json.loads(record(number)) | fields).encode()


def test_the_table_has_the_columns_that_are_sent() -> None:
    """Same names, same order, types that go together."""
    assert [name for name, _, _ in COLUMNS] == SCHEMA.names
    assert [ARROW[kind] for _, kind, _ in COLUMNS] == SCHEMA.types


def test_no_column_has_a_reserved_name() -> None:
    """The emulator would take it, BigQuery would not."""
    assert not [name for name, _, _ in COLUMNS if name.upper().startswith(RESERVED)]


def test_a_row_holds_what_the_record_says() -> None:
    """Every column."""
    rows, letters = read(record(7), first=40)
    (row,) = record_batch(rows, "topic", 3).to_pylist()
    event = engagement(7)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=COMMIT_TS_US + 7_000)
    same = msgspec.structs.asdict(event)
    assert not letters
    assert row == {name: same[name] for name in SCHEMA.names if name in same} | {
        "event_ts": moment,
        "publish_ts": datetime(2025, 8, 1, 12, tzinfo=UTC),
        "commit_lsn": event.position[0],
        "commit_ts": moment,
        "_topic": "topic",
        "_topic_partition": 3,
        "_offset": 40,
        "_source": "live",
        "_dlq": False,
    }


def test_what_may_be_null_is_null() -> None:
    """A bare event."""
    rows, letters = read(record(1, content=None, user=None, event_type=None, duration_ms=None))
    (row,) = record_batch(rows, "topic", 3).to_pylist()
    assert not letters
    assert row["content_id"] is row["duration_ms"] is row["publish_ts"] is row["engagement_pct"] is None


def test_placeholders_stand_where_their_records_stood() -> None:
    """Malformed first, last and in the middle; watermarks make no row."""
    rows, letters = read(b"{", record(1), watermark(), b"", record(2), b'{"v":1,"event_id":"x"}')
    made = record_batch(rows, "topic", 3).to_pylist()
    assert [row["_offset"] for row in made] == [0, 1, 3, 4, 5]
    assert [row["_dlq"] for row in made] == [True, False, True, False, True]
    assert [row["event_id"] for row in made] == [None, 1, None, 2, None]
    assert letters == ["malformed"] * 3


@pytest.mark.parametrize(
    ("days", "reason"),
    [(-3_651, OUT_OF_RANGE), (-3_650, None), (0, None), (365, None), (366, OUT_OF_RANGE)],
)
def test_what_streaming_refuses_is_set_aside(days: int, reason: str | None) -> None:
    """A day's partition ten years back, or one year ahead; its keys stay in the placeholder."""
    moment_us = int((NOW + timedelta(days=days)).timestamp()) * 1_000_000
    rows, letters = read(record(1, event_ts_us=moment_us), record(2))
    first, second = record_batch(rows, "topic", 3).to_pylist()
    assert letters == ([reason] if reason else [])
    assert (first["_dlq"], second["_dlq"]) == (bool(reason), False)
    assert (first["event_id"], first["_source"], first["commit_lsn"]) == (1, "live", 1_001)
    assert (first["event_ts"] is None) == bool(reason)


@pytest.mark.parametrize("payload", ["", "{bad", "nul", "[1", '{"a":1} x', "[" * 5_000 + "]" * 5_000])
def test_a_payload_that_is_no_json_is_set_aside(payload: str) -> None:
    """One bad row would cost a whole append."""
    rows, letters = read(changed(1, raw_payload=payload))
    assert letters == [PAYLOAD]
    assert rows.dead == {0}


@pytest.mark.parametrize(
    "wrong",
    [{"event_id": 1 << 63}, {"duration_ms": -(1 << 63) - 1}, {"commit_ts_us": 1 << 62}, {"event_ts": "infinity"},
     {"event_ts": "2025-01-01T00:00:00"}, {"position": [1 << 64, 0]}, {"title": 5}],
    ids=str,
)  # fmt: skip
def test_what_no_column_can_hold_is_malformed(wrong: dict[str, object]) -> None:
    """It never reaches the conversion to columns, which would fail for all rows at once."""
    rows, letters = read(changed(1, **wrong), record(2))
    assert letters == ["malformed"]
    assert [row["_dlq"] for row in record_batch(rows, "topic", 3).to_pylist()] == [True, False]


@pytest.mark.parametrize("ts_us", [COMMIT_TS_US, COMMIT_TS_US + 1, COMMIT_TS_US + 500_000])
def test_a_timestamp_keeps_its_microseconds(ts_us: int) -> None:
    """With or without a fraction in the text."""
    rows, _ = read(record(1, event_ts_us=ts_us))
    (row,) = record_batch(rows, "topic", 3).to_pylist()
    assert iso(ts_us) == row["event_ts"].isoformat().replace("+00:00", "Z")


def test_frames_are_cut_by_size_and_follow_each_other() -> None:
    """Offsets without gap or overlap, positions too; the last one ends where the slice ends."""
    rows, _ = read(*[record(n) for n in range(300)], first=10)
    made = frames(rows, 1_000, 400, "topic", 3, max_bytes=20_000)
    assert len(made) > 3
    assert all(len(frame.data) <= 20_000 for frame in made)
    assert [frame.first for frame in made] == [1_000 + sum(map(len, made[:i])) for i in range(len(made))]
    assert [offset for frame in made for offset in frame.rows.offsets] == rows.offsets
    assert [frame.end for frame in made[:-1]] == [frame.rows.offsets[-1] + 1 for frame in made[:-1]]
    assert made[-1].end == 400


def test_missing_columns_are_named_and_wrong_types_halt() -> None:
    """Other columns are somebody's own and none of our business."""
    present = {name: kind for name, kind, _ in COLUMNS if name != "device"} | {"mine": "DATE"}
    present |= {"event_id": "INT64", "_dlq": "BOOL"}
    assert missing_columns(present) == ["device"]
    with pytest.raises(Fatal, match="event_id is STRING instead of INTEGER"):
        missing_columns(present | {"event_id": "STRING"})

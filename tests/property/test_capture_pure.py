"""Properties of capture's pure parts, on whatever hypothesis finds."""

import contextlib
import json
import struct

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.capture import pgoutput
from engagement_stream.capture.copy_text import copy_row
from engagement_stream.capture.envelope import (
    envelope,
    row_format,
    source_commit,
    source_end,
    source_table,
    tail,
)
from engagement_stream.capture.first_images import FirstImages, IdSet
from engagement_stream.capture.inserted import inserted_reader
from engagement_stream.capture.pgoutput import Column, Relation, UnexpectedMessage, Values
from engagement_stream.capture.snapshot import Snapshot
from engagement_stream.capture.values import NULL
from engagement_stream.model.change import decode_event_change

# PostgreSQL holds every character but NUL, and no half surrogate pairs.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
cells = st.none() | texts.map(str.encode)
rows = st.lists(cells, max_size=12)
int64 = st.integers(-(2**63), 2**63 - 1)


def _tuple(values: Values) -> bytes:
    parts = [
        b"n" if value is None else b"t" + struct.pack("!I", len(value)) + value  # type: ignore[arg-type, operator]  # bytes here
        for value in values
    ]
    return struct.pack("!H", len(values)) + b"".join(parts)


@given(rows, rows)
def test_what_the_server_wrote_is_what_is_read(old: Values, new: Values) -> None:
    """Inserts, updates and deletes of any rows."""
    head = struct.pack("!I", 5)
    assert pgoutput.insert(b"I" + head + b"N" + _tuple(new)) == (5, new)
    assert pgoutput.delete(b"D" + head + b"O" + _tuple(old)).old == old
    update = pgoutput.update(b"U" + head + b"O" + _tuple(old) + b"N" + _tuple(new))
    assert (update.old, update.new) == (old, new)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    """A malformed message never ends in another exception."""
    for decode in (pgoutput.insert, pgoutput.update, pgoutput.delete, pgoutput.relation, pgoutput.logical_message):
        for kind in (b"", b"I\0\0\0\1N", b"U\0\0\0\1O", b"M\1"):
            with contextlib.suppress(UnexpectedMessage):
                decode(kind + data)


_TYPED = {
    25: cells,
    20: st.none() | int64.map(lambda number: b"%d" % number),
    1184: st.none() | st.sampled_from([b"2025-08-01 12:00:00.5+00", b"12025-08-01 12:00:00+00", b"infinity", b" +00"]),
    2950: st.none() | st.uuids().map(lambda found: str(found).encode()),
    701: st.sampled_from([b"NaN", b"1e+30", b"-0.5"]),
    1700: st.integers(0, 10**300).map(lambda number: b"%d.5" % number),
}
"""Type -> values of a column of that type."""


@given(st.lists(st.tuples(*_TYPED.values()).map(list), max_size=4), st.integers(0, 2**40), st.data())
def test_the_short_way_of_inserted_rows_ends_where_the_long_one_does(
    found: list[Values], index: int, data: st.DataObject
) -> None:
    """The same records with the same keys, whichever way was taken; types that quote, replace and pass on."""
    relation = Relation(5, "public", "t", tuple(Column(f"c{oid}", oid) for oid in _TYPED))
    read = inserted_reader(relation, "c2950", "c25")
    messages = [b"I\0\0\0\5N" + _tuple(values) for values in found]
    at = data.draw(st.integers(0, len(messages)))
    encode = row_format(relation.columns)
    assert (
        read(messages, at, b",source", index, b"end")
        == [
            (-1, envelope(NULL, encode(row), b",source%d" % number, b"end"), row[3] or row[0])  # type: ignore[arg-type]  # bytes or None here
            for number, row in enumerate(found[at:], index)
        ]
    )


@given(rows.filter(len), st.data())
def test_the_short_way_takes_nothing_that_the_long_one_refuses(values: Values, data: st.DataObject) -> None:
    """Damaged messages, and those behind them, go the long way, which tells what is wrong."""
    columns = tuple(Column(f"c{number}", 25) for number in range(len(values)))
    read = inserted_reader(Relation(5, "public", "t", columns), "c0", "c0")
    message = b"I\0\0\0\5N" + _tuple(values)
    at = data.draw(st.integers(5, len(message) - 1))
    damaged = data.draw(st.sampled_from([message[:at], message + b"n", message[:at] + b"\xff" + message[at + 1 :]]))
    records = read([message, damaged, message], 0, b",source", 0, b"end")
    if len(records) == 1:
        return
    taken = pgoutput.insert(damaged)[1]
    assert records[1][1] == envelope(NULL, row_format(columns)(taken), b",source1", b"end")  # type: ignore[arg-type]  # as above
    assert len(records) == 3


def _copy_line(values: Values) -> bytes:
    escapes = {8: b"\\b", 9: b"\\t", 10: b"\\n", 11: b"\\v", 12: b"\\f", 13: b"\\r", 92: b"\\\\"}
    fields = [
        b"\\N" if value is None else b"".join(escapes.get(byte, bytes([byte])) for byte in bytes(value))  # type: ignore[arg-type]  # bytes here
        for value in values
    ]
    return b"\t".join(fields) + b"\n"


@given(st.lists(cells, min_size=1, max_size=12))
def test_a_copied_row_is_the_row(values: Values) -> None:
    """As PostgreSQL's CopyAttributeOutText escapes it."""
    assert copy_row(_copy_line(values)) == values


@given(
    id=int64,
    device=st.none() | texts,
    payload=st.none() | texts,
    lsn=st.integers(0, 2**63 - 1),
    index=st.integers(2, 2**40),
)
def test_an_envelope_says_what_the_row_says(
    id: int,  # noqa: A002 - the column's name
    device: str | None,
    payload: str | None,
    lsn: int,
    index: int,
) -> None:
    """Any text, escaped right, for a strict reader and for ours; odd names of columns and tables too."""
    columns = [Column("id", 20), Column("device", 25), Column("raw_payload", 3802), Column("event_ts", 1184)]
    encode = row_format([*columns, Column('%s "odd" %%', 25)])
    row = encode(
        [
            str(id).encode(),
            None if device is None else device.encode(),
            None if payload is None else payload.encode(),
            b"2025-08-01 12:00:00.25+00",
            b"x",
        ]
    )
    source = source_table("engagement", 'd"b', "public", "engagement_events") + source_commit(7, lsn, 9, snapshot=False)
    value = envelope(NULL, row, source + b"%d" % index + source_end((lsn, 2)), tail(b"c", 5))
    change = decode_event_change(value)
    assert change.after is not None
    assert (change.after.id, change.after.device, change.after.raw_payload) == (id, device, payload)
    assert change.after.event_ts == "2025-08-01T12:00:00.25Z"
    assert (change.source.position, change.source.catalog) == ((lsn, index), (lsn, 2))
    assert json.loads(value)["after"]['%s "odd" %%'] == "x"
    assert json.loads(value) == msgspec.json.decode(value)


@given(st.sets(int64))
def test_a_set_of_ids_holds_what_was_put_in(ids: set[int]) -> None:
    """And nothing beside it."""
    kept = IdSet(ids)
    assert all(number in kept for number in ids)
    assert all((number + 1 in kept) == (number + 1 in ids) for number in ids)


@given(st.lists(st.tuples(st.sampled_from(["update", "create", "copy", "crash"]), st.integers(1, 6))))
def test_each_event_of_the_snapshot_is_told_first_exactly_once(steps: list[tuple[str, int]]) -> None:
    """Live changes, pieces of the copy and crashes in any order; events 1, 2, 4 and 6 are in the snapshot."""
    in_snapshot = {1, 2, 4, 6}
    told: list[int] = []
    created: set[int] = set()
    delivered: list[int] = []
    images = FirstImages(6, None)
    for step, event_id in [*steps, ("copy", 6)]:
        if step == "create" and event_id not in in_snapshot and event_id not in created:
            created.add(event_id)
            told.append(event_id)
            images.created(event_id)
        elif step == "update" and (event_id in in_snapshot or event_id in created):
            if images.is_due(event_id):
                told.append(event_id)
        elif step == "copy":
            last_id = images.last_id or 0
            told += [i for i in sorted(in_snapshot) if last_id < i <= event_id and not images.passes_over(i)]
            images.last_id = max(last_id, event_id)
        delivered += images.take_new()
        if step == "crash":
            images = FirstImages(6, images.last_id, delivered)
    assert sorted(told) == sorted(in_snapshot | created)


@given(
    st.integers(3, 2**31),
    st.integers(0, 1000),
    st.sets(st.integers(0, 999)),
    st.integers(0, 1000),
    st.integers(0, 3000),
)
def test_the_condition_on_xmin_is_what_the_snapshot_would_see(
    xmin: int, width: int, unfinished: set[int], later: int, row: int
) -> None:
    """For a row whose transaction committed: in the snapshot unless unfinished then, or begun later."""
    xmax = xmin + width
    xip = tuple(sorted(xmin + n for n in unfinished if n < width))
    snapshot = Snapshot.parse(f"{xmin}:{xmax}:{','.join(map(str, xip))}")
    condition = snapshot.condition(xmax + later).replace("xmin::text::bigint", str(xmin + row))
    sql = condition.replace("AND", "and").replace("NOT IN (", "not in (0,")
    assert eval(sql) == (xmin + row < xmax and xmin + row not in xip)

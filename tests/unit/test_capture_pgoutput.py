"""The pgoutput decoder on messages recorded from PostgreSQL 18."""

import pytest

from engagement_stream.capture import pgoutput
from engagement_stream.capture.pgoutput import UNCHANGED, Column, UnexpectedMessage

# Recorded with pg_logical_slot_get_binary_changes (proto_version 1, messages on) from:
#   begin; insert into t values (1, 'ü', null); update t set b = 'y'; delete from t; truncate t;
#   select pg_logical_emit_message(true, 'p', 'c'); commit;
# on: create table t (a int primary key, b text, c text); alter table t replica identity full;
RECORDED = [
    "4200000000016f5be0000303fc14d70aa5000002f4",
    "52000040007075626c696300740066000301610000000017ffffffff01620000000019ffffffff01630000000019ffffffff",
    "49000040004e00037400000001317400000002c3bc6e",
    "55000040004f00037400000001317400000002c3bc6e4e00037400000001317400000001796e",
    "44000040004f00037400000001317400000001796e",
    "52000040007075626c696300740066000301610000000017ffffffff01620000000019ffffffff01630000000019ffffffff",
    "54000000010000004000",
    "4d0100000000016f5be070000000000163",
    "430000000000016f5be000000000016f5d50000303fc14d70aa5",
]


def test_a_recorded_transaction_reads_as_what_was_done() -> None:
    """Every kind of message once."""
    begin, relation, insert, update, delete, again, truncate, message, commit = map(bytes.fromhex, RECORDED)
    started, ended = pgoutput.begin(begin), pgoutput.commit(commit)
    assert started.commit_lsn == ended.commit_lsn < ended.end_lsn
    assert 1_700_000_000_000_000 < started.commit_ts_us < 2_500_000_000_000_000
    table = pgoutput.relation(relation)
    assert pgoutput.relation(again) == table  # the server repeats it when its cache says so
    assert (table.schema, table.name) == ("public", "t")
    assert table.columns == (Column("a", 23), Column("b", 25), Column("c", 25))
    assert pgoutput.insert(insert) == (table.relation_id, [b"1", "ü".encode(), None])
    changed = pgoutput.update(update)
    assert (changed.old, changed.new, changed.key_only) == ([b"1", "ü".encode(), None], [b"1", b"y", None], False)
    assert pgoutput.delete(delete).old == [b"1", b"y", None]
    assert list(pgoutput.truncate(truncate)) == [table.relation_id]
    mark = pgoutput.logical_message(message)
    assert (mark.transactional, mark.prefix, mark.content) == (True, "p", b"c")


def test_an_unchanged_toasted_value_is_told_apart_from_null() -> None:
    """`u` is not `n`."""
    data = b"U" + (7).to_bytes(4, "big") + b"N" + (2).to_bytes(2, "big") + b"un"
    assert pgoutput.update(data).new == [UNCHANGED, None]


@pytest.mark.parametrize("position", range(1, 30))
def test_a_message_cut_short_is_refused(position: int) -> None:
    """Never half a row."""
    insert = bytes.fromhex(RECORDED[2])
    with pytest.raises(UnexpectedMessage):
        pgoutput.insert(insert[: min(position, len(insert) - 1)])


@pytest.mark.parametrize("decode", [pgoutput.insert, pgoutput.update, pgoutput.delete])
def test_a_row_message_of_another_kind_is_refused(decode: object) -> None:
    """A tuple kind that the protocol does not know."""
    assert callable(decode)
    with pytest.raises(UnexpectedMessage):
        decode(b"I\0\0\0\1X\0\1n")

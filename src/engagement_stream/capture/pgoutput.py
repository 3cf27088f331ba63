"""The logical replication protocol's messages (`pgoutput`, version 1), decoded. Pure: bytes in, values out.

Source: PostgreSQL's documentation, "Logical Replication Message Formats". Every message here is the payload of an
XLogData frame. Column values stay the bytes of their text form: a text value, None for NULL, or UNCHANGED for a
TOASTed value that the update did not touch and the server therefore did not send.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception reads better with its capital
from typing import Final, NamedTuple

BEGIN: Final = ord("B")
COMMIT: Final = ord("C")
RELATION: Final = ord("R")
INSERT: Final = ord("I")
UPDATE: Final = ord("U")
DELETE: Final = ord("D")
TRUNCATE: Final = ord("T")
MESSAGE: Final = ord("M")
IGNORED: Final = frozenset({ord("O"), ord("Y")})
"""Origin and Type: true, and of no use to us."""

NEW_TUPLE: Final = ord("N")
_OLD: Final = ord("O")
_KEY: Final = ord("K")
NULL_VALUE: Final = ord("n")
TEXT_VALUE: Final = ord("t")
_TOASTED: Final = ord("u")
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970

_BEGIN = Struct("!xQqI").unpack_from
_COMMIT = Struct("!xBQQq").unpack_from
_RELATION_COLUMN = Struct("!Ii").unpack_from
_U32 = Struct("!I").unpack_from
_TUPLE_START = Struct("!xIBH").unpack_from


class _Unchanged:
    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged()
Value = bytes | None | _Unchanged
Values = list[Value]


class UnexpectedMessage(ValueError):
    """Not what the protocol says; the server speaks another version than we asked for."""


class Begin(NamedTuple):
    """`commit_lsn` is where the transaction's commit record begins."""

    commit_lsn: int
    commit_ts_us: int
    xid: int


class Commit(NamedTuple):
    """`end_lsn` is the first byte after the commit record."""

    commit_lsn: int
    end_lsn: int


class Column(NamedTuple):
    """`type_oid` of pg_type."""

    name: str
    type_oid: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it was when the rows that follow were written."""

    relation_id: int
    schema: str
    name: str
    columns: tuple[Column, ...]


class Update(NamedTuple):
    """`old` is there with REPLICA IDENTITY FULL; `key_only` when it holds nothing but the key."""

    relation_id: int
    old: Values | None
    new: Values
    key_only: bool


class Delete(NamedTuple):
    """See Update."""

    relation_id: int
    old: Values
    key_only: bool


class LogicalMessage(NamedTuple):
    """What `pg_logical_emit_message` wrote; `lsn` is the first byte after its record."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


def begin(data: bytes) -> Begin:
    commit_lsn, commit_ts, xid = _BEGIN(data, 0)
    return Begin(commit_lsn, commit_ts + _POSTGRES_EPOCH_US, xid)


def commit(data: bytes) -> Commit:
    _flags, commit_lsn, end_lsn, _commit_ts = _COMMIT(data, 0)
    return Commit(commit_lsn, end_lsn)


def relation(data: bytes) -> Relation:
    try:
        (relation_id,) = _U32(data, 1)
        schema, at = _string(data, 5)
        name, at = _string(data, at)
        count = int.from_bytes(data[at + 1 : at + 3], "big")  # the byte before it is the replica identity
        at += 3
        columns = []
        for _ in range(count):
            column, at = _string(data, at + 1)
            type_oid, _modifier = _RELATION_COLUMN(data, at)
            at += 8
            columns.append(Column(column, type_oid))
    except (ValueError, StructError) as error:
        raise UnexpectedMessage(f"a Relation message cannot be read: {error}") from error
    _expect_end(data, at)
    return Relation(relation_id, schema, name, tuple(columns))


def relation_of(data: bytes) -> int:
    """Whose row an Insert message holds."""
    relation_id: int
    try:
        (relation_id,) = _U32(data, 1)
    except StructError as error:
        raise UnexpectedMessage(f"a row message of {len(data)} bytes") from error
    return relation_id


def insert(data: bytes) -> tuple[int, Values]:
    """(relation id, values)."""
    relation_id, kind, count = _tuple_start(data)
    if kind != NEW_TUPLE:
        raise UnexpectedMessage(f"an Insert with tuple kind {kind}")
    values, at = _tuple(data, 8, count)
    _expect_end(data, at)
    return relation_id, values


def update(data: bytes) -> Update:
    relation_id, kind, count = _tuple_start(data)
    old: Values | None = None
    values, at = _tuple(data, 8, count)
    if kind in (_OLD, _KEY):
        old = values
        if data[at : at + 1] != b"N":
            raise UnexpectedMessage("an Update without a new row")
        values, at = _tuple(data, at + 3, int.from_bytes(data[at + 1 : at + 3], "big"))
    elif kind != NEW_TUPLE:
        raise UnexpectedMessage(f"an Update with tuple kind {kind}")
    _expect_end(data, at)
    return Update(relation_id, old, values, kind == _KEY)


def delete(data: bytes) -> Delete:
    relation_id, kind, count = _tuple_start(data)
    if kind not in (_OLD, _KEY):
        raise UnexpectedMessage(f"a Delete with tuple kind {kind}")
    values, at = _tuple(data, 8, count)
    _expect_end(data, at)
    return Delete(relation_id, values, kind == _KEY)


def truncate(data: bytes) -> Sequence[int]:
    """Ids of the truncated relations."""
    count = int.from_bytes(data[1:5], "big")
    if len(data) != 6 + 4 * count:
        raise UnexpectedMessage("a Truncate of the wrong length")
    return Struct(f"!{count}I").unpack_from(data, 6)


def logical_message(data: bytes) -> LogicalMessage:
    try:
        transactional = data[1] & 1 == 1
        lsn = int.from_bytes(data[2:10], "big")
        prefix, at = _string(data, 10)
        size = int.from_bytes(data[at : at + 4], "big")
    except (ValueError, IndexError) as error:
        raise UnexpectedMessage(f"a Message cannot be read: {error}") from error
    _expect_end(data, at + 4 + size)
    return LogicalMessage(transactional, lsn, prefix, data[at + 4 :])


def _tuple_start(data: bytes) -> tuple[int, int, int]:
    try:
        return _TUPLE_START(data, 0)
    except StructError as error:
        raise UnexpectedMessage(f"a row message of {len(data)} bytes") from error


def _tuple(data: bytes, at: int, count: int) -> tuple[Values, int]:
    values: Values = []
    add = values.append
    try:
        for _ in range(count):
            kind = data[at]
            if kind == TEXT_VALUE:
                start = at + 5
                at = start + int.from_bytes(data[at + 1 : start], "big")
                add(data[start:at])
            elif kind == NULL_VALUE:
                add(None)
                at += 1
            elif kind == _TOASTED:
                add(UNCHANGED)
                at += 1
            else:
                raise UnexpectedMessage(f"a column of kind {kind}")
    except IndexError:
        raise UnexpectedMessage("a row message ends too early") from None
    return values, at


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _expect_end(data: bytes, at: int) -> None:
    if at != len(data):
        raise UnexpectedMessage(f"a message of {len(data)} bytes whose parts say {at}")

"""Runs of inserted events to records, a row in one pass: the hottest loop of capture. Pure.

What a table's columns are is known before its rows come, so the loop is written out for them, as `dataclasses` writes
an `__init__`: nothing is asked or called that the type has decided. A loop over the columns takes half as long again.
`pgoutput.insert` and `envelope` are the long way, for every row that is not usual, and they tell what is wrong with it.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception reads better with its capital
from typing import Any, Final

from engagement_stream.broker.transaction import Outgoing
from engagement_stream.capture.envelope import created_pieces
from engagement_stream.capture.outgoing import MAX_VALUE_BYTES
from engagement_stream.capture.pgoutput import INSERT, NEW_TUPLE, NULL_VALUE, TEXT_VALUE, Relation
from engagement_stream.capture.values import (
    NULL,
    TIMESTAMPTZ_OID,
    UUID_OID,
    encode_text,
    instant,
    number,
    plain,
    text,
    to_json,
)

_USUAL_BYTES: Final = MAX_VALUE_BYTES // 8
"""Of a message: as JSON it is at most six times as long, and the rest is less than a thousand."""

Inserted = Callable[[Sequence[bytes], int, bytes, int, bytes], list[Outgoing]]
"""(messages, at, head, index, rest) -> a record for each usual Insert from `messages[at]` on, until another one comes.

`head` is the source block up to the index, `index` the first one's, `rest` what follows the index.
"""

_LOOP = """
def inserted(messages, at, head, index, rest):
    records = []
    try:
        for index, m in enumerate(islice(messages, at, None), index):
            if m[:8] != start or len(m) > usual_bytes:
                break
            a = 8
{columns}
            if a != len(m):
                break
            records.append((-1, join(({pieces}, head, b'%d' % index, rest)), {key}))
    except (IndexError, UnicodeDecodeError, StructError):
        pass
    return records
"""
# `m` is a message, `a` where its next column begins: n for NULL, or t, four bytes of size, and the text, `m[s:a]`.
_COLUMN = """
            if {is_there}:
                s = a + 5
                a {end}
                c{n} = {cell}{keep}
            elif m[a] == {null}:
                a += 1
                c{n} = NULL{keep_null}
            else:
                break
"""
_OF_ANY_SIZE = {"is_there": f"m[a] == {TEXT_VALUE}", "end": "= s + size(m, a + 1)[0]"}
_SHORT = {"is_there": r"m[a : a + 4] == b't\0\0\0'", "end": "= s + m[a + 4]"}
_UUID = {"is_there": r"m[a : a + 5] == b't\0\0\0$'", "end": "+= 41"}  # $ is 36, the size of a uuid
_QUOTED = "b'\"' + m[s:a] + b'\"'"
_INSTANT = (
    "b'\"' + m[s : s + 10] + b'T' + m[s + 11 : a - 3] + b'Z\"'"
    " if m[a - 3 : a] == b'+00' and m.find(b' ', s) == s + 10 and a - s > 13 else instant(m[s:a])"
)


def inserted_reader(relation: Relation, key: str, instead: str) -> Inserted:
    """For one version of a table's definition. The records' key is column `key`, or `instead` where that is NULL."""
    pieces = created_pieces(relation.columns)
    names = [column.name for column in relation.columns]
    numbers = range(len(names))
    raw = {names.index(key), names.index(instead)}
    code = _LOOP.format(
        columns="".join(_column(n, relation.columns[n].type_oid, keep=n in raw) for n in numbers),
        pieces=", ".join(f"p{n}, c{n}" for n in numbers) + f", p{len(names)}",
        key=f"r{names.index(key)} or r{names.index(instead)}",
    )
    scope: dict[str, Any] = {
        **{f"p{n}": piece for n, piece in enumerate(pieces)},
        **{f"convert{n}": to_json(column.type_oid) for n, column in enumerate(relation.columns)},
        "start": bytes([INSERT, *relation.relation_id.to_bytes(4), NEW_TUPLE, *len(names).to_bytes(2)]),
        "usual_bytes": _USUAL_BYTES,
        "size": Struct("!I").unpack_from,
        "islice": islice,
        "join": b"".join,
        "NULL": NULL,
        "instant": instant,
        "encode_text": encode_text,
        "StructError": StructError,
    }
    exec(code, scope)  # noqa: S102 - nothing of it comes from outside: names, types and values are not written into it
    return scope["inserted"]  # type: ignore[no-any-return]


def _column(n: int, type_oid: int, *, keep: bool) -> str:
    """The code for column `n`; `keep` the value as it is, too, as r{n}."""
    convert = to_json(type_oid)
    way, cell = _OF_ANY_SIZE, f"convert{n}(m[s:a])"
    if convert is text:
        cell = "encode_text(m[s:a].decode())"
    elif convert is number:
        way, cell = _SHORT, "m[s:a]"
    elif type_oid == UUID_OID:
        way, cell = _UUID, _QUOTED
    elif convert is plain:
        cell = _QUOTED
    elif type_oid == TIMESTAMPTZ_OID:
        way, cell = _SHORT, _INSTANT
    return _COLUMN.format(
        n=n,
        null=NULL_VALUE,
        cell=cell,
        keep=f"\n                r{n} = m[s:a]" if keep else "",
        keep_null=f"\n                r{n} = None" if keep else "",
        **way,
    )

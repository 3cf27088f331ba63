"""Rows to Debezium envelopes, spliced together as bytes. Pure.

What is the same for a table is made once, what is the same for a transaction once per transaction; a row then
costs its own columns and two joins. The shape is that of `model.change`.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from engagement_stream import __version__
from engagement_stream.capture.pgoutput import Column
from engagement_stream.capture.values import NULL, to_json
from engagement_stream.model.position import Position

_json = msgspec.json.Encoder().encode

Row = Sequence[bytes | None]


def row_template(columns: Iterable[Column]) -> bytes:
    """A row's JSON object, for `%` with its values as JSON."""
    return b"{%b}" % b",".join(_json(c.name).replace(b"%", b"%%") + b":%b" for c in columns)


def created_pieces(columns: Sequence[Column]) -> list[bytes]:
    """What stands before, between and after an inserted row's values (as JSON); the source block follows."""
    names = [_json(column.name) + b":" for column in columns]
    return [b'{"before":null,"after":{' + names[0], *(b"," + name for name in names[1:]), b"}"]


def row_format(columns: Iterable[Column]) -> Callable[[Row], bytes]:
    """The function from a row's values (text forms) to its JSON object."""
    columns = tuple(columns)
    template = row_template(columns)
    converters = tuple(to_json(c.type_oid) for c in columns)

    def encode(values: Row) -> bytes:
        return template % tuple(
            [NULL if value is None else convert(value) for convert, value in zip(converters, values, strict=True)]
        )

    return encode


def source_table(connector: str, database: str, schema: str, table: str) -> bytes:
    """The part of the `source` block that is the same for all records of a table."""
    return b',"source":{"version":%b,"connector":"postgresql","name":%b,"db":%b,"schema":%b,"table":%b,' % tuple(
        map(_json, (__version__, connector, database, schema, table))
    )


def source_commit(commit_ts_us: int, commit_lsn: int, xid: int | None, *, snapshot: bool) -> bytes:
    """The part that is the same for all records of a transaction, up to the index of the position."""
    return b'"ts_ms":%d,"ts_us":%d,"snapshot":"%b","txId":%b,"lsn":%d,"position":[%d,' % (
        commit_ts_us // 1000,
        commit_ts_us,
        b"true" if snapshot else b"false",
        NULL if xid is None else b"%d" % xid,
        commit_lsn,
        commit_lsn,
    )


def source_end(catalog: Position) -> bytes:
    """The part after the index, until the next content record."""
    return b'],"catalog":[%d,%d]}' % catalog


def tail(op: bytes, now_ms: int) -> bytes:
    """The end of the envelope."""
    return b',"op":"%b","ts_ms":%d}' % (op, now_ms)


def envelope(before: bytes, after: bytes, source: bytes, end: bytes) -> bytes:
    """`source` is table + commit + index + end, concatenated."""
    return b'{"before":%b,"after":%b%b%b' % (before, after, source, end)


def message_envelope(prefix: str, content: bytes, source: bytes, end: bytes) -> bytes:
    """A logical message; its content as text."""
    text = content.decode(errors="replace")
    return b'{"before":null,"after":null,"message":{"prefix":%b,"content":%b}%b%b' % (
        _json(prefix),
        _json(text),
        source,
        end,
    )

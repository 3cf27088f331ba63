"""The checkpoint that lies in the group offset's metadata, and what follows from it; pure.

`{"v":1,"stream":"projects/../streams/..","rows":n}` beside offset K says: the stream had taken n rows when every record
before K was in the table. Finalizing the stream tells how many it has taken in truth; the difference, counted in
records that make a row, leads from K to the true position.
"""

from collections.abc import Iterable, Iterator

import msgspec

from engagement_stream.errors import Fatal

Record = tuple[int, bool]
"""Offset of a record, and whether it makes a row (a watermark makes none)."""


class Mark(msgspec.Struct, frozen=True, omit_defaults=False):
    """A write stream and the rows that are known to be in it."""

    stream: str
    rows: int
    v: int = 1

    def encode(self) -> str:
        """At most 4,096 bytes: BigQuery's own limits on names keep a stream's name below that."""
        return msgspec.json.encode(self).decode()


_decode = msgspec.json.Decoder(Mark).decode


def decode_mark(metadata: str) -> Mark | None:
    """None where there is nothing of ours: erased, or written by somebody else."""
    try:
        mark = _decode(metadata)
    except msgspec.MsgspecError:
        return None
    return mark if mark.v == 1 and mark.rows >= 0 and "/streams/" in mark.stream else None


def after_rows(place: str, offset: int, mark: Mark, count: int, records: Iterable[Record]) -> int:
    """The position after the stream's `count` rows, given the log's `records` from `offset` on. Raises Fatal."""
    if count < mark.rows:
        raise Fatal(
            f"the write stream of {place} holds {count} rows, but {mark.rows} were acknowledged",
            remedy="rows were lost inside BigQuery: keep the table, backfill the range that is missing, and report it",
        )
    left = count - mark.rows
    if left == 0:
        return offset
    walk: Iterator[Record] = iter(records)
    for at, makes_row in walk:
        left -= makes_row
        if left == 0:
            return at + 1
    raise Fatal(
        f"the write stream of {place} holds {left} rows more than the log has records after offset {offset}",
        remedy="the topic was made anew or its end was lost: restore it, or rebuild the table with a backfill and "
        "then reset this group's offsets on purpose",
    )


def from_table(place: str, committed: int | None, last_in_table: int | None, begins_at: int, ends_at: int) -> int:
    """The position where no stream can tell it: from the table's greatest offset. Raises Fatal.

    `committed` is the group's offset, if any: everything before it was in the table once, also where somebody has
    deleted rows since. A table without any row of this partition is a new one: it gets the whole log, or nobody
    would notice what it lacks.
    """
    if last_in_table is not None:
        position = max(last_in_table + 1, committed or 0)
        if position > ends_at:
            raise Fatal(
                f"the table knows {place} up to offset {position}, but the log ends at {ends_at}",
                remedy="the topic was made anew: use another BIGQUERY_DATASET_ID, or rebuild the table with a backfill",
            )
        return position
    if begins_at == 0:
        return 0
    raise Fatal(
        f"the table has no row of {place}, and the log begins at offset {begins_at}: what came before is missing",
        remedy="backfill the table from PostgreSQL, then commit this group's offset at the log's beginning on purpose",
    )

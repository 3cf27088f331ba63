"""Small batches to chunks that are worth a load of their own. Pure."""

from collections.abc import Iterable, Iterator

import pyarrow as pa


def chunks(batches: Iterable[pa.RecordBatch], max_rows: int, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """About `max_rows` rows or `max_bytes`, whichever comes first; a larger batch is cut."""
    held: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        for start in range(0, batch.num_rows, max_rows):
            piece = batch.slice(start, max_rows)
            piece_bytes = piece.get_total_buffer_size() * piece.num_rows // max(batch.num_rows, 1)
            if held and (rows + piece.num_rows > max_rows or size_bytes + piece_bytes > max_bytes):
                yield _one(held)
                held, rows, size_bytes = [], 0, 0
            held.append(piece)
            rows += piece.num_rows
            size_bytes += piece_bytes
    if held:
        yield _one(held)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)

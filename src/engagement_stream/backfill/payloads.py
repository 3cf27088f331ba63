"""Payloads as the live path would have carried them: too large ones by hash and size, unstorable ones not at all.

Almost no row is concerned, and a row that is not costs a comparison of lengths.
"""

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from engagement_stream.capture.outgoing import MAX_VALUE_BYTES
from engagement_stream.capture.payload import replacement
from engagement_stream.capture.records import OVERSIZED
from engagement_stream.sinks.bigquery.payload import MAX_DEPTH, json_problem
from engagement_stream.sinks.bigquery.rows import PAYLOAD

_SUSPECT_BYTES = MAX_VALUE_BYTES // 2 - 4_096
"""As a JSON string a payload's text may double; the rest of its record is small."""
_FRAME_BYTES = 700
"""What stands around a row in its raw record, but for the texts; within a hundred bytes."""

_text = msgspec.json.Encoder().encode


def settle_payloads(rows: pa.Table, *, json_type: bool = True) -> tuple[pa.Table, list[tuple[int, str]]]:
    """The rows that can go on, and the ids of those that cannot with the reason. Pure.

    `json_type`: they have to fit into BigQuery's JSON type.
    """
    payload = rows.column("raw_payload")
    # Each level of nesting takes two characters.
    long = pc.fill_null(pc.greater(pc.binary_length(payload), 2 * MAX_DEPTH), False)
    if not pc.any(long).as_py():
        return rows, []
    suspect = pc.and_(long, pc.fill_null(_may_be_refused(payload), False))
    if not pc.any(suspect).as_py():
        return rows, []
    keep = [True] * rows.num_rows
    replaced: dict[int, str] = {}
    left_out: list[tuple[int, str]] = []
    for index in pc.indices_nonzero(suspect).to_pylist():
        row = rows.slice(index, 1).to_pylist()[0]
        text = _as_captured(row)
        if text is None or (json_type and json_problem(text)):
            keep[index] = False
            left_out.append((row["event_id"], OVERSIZED if text is None else PAYLOAD))
        elif text != row["raw_payload"]:
            replaced[index] = text
    if replaced:
        texts = payload.to_pylist()
        for index, text in replaced.items():
            texts[index] = text
        rows = rows.set_column(rows.schema.get_field_index("raw_payload"), "raw_payload", pa.array(texts, pa.string()))
    return rows.filter(pa.array(keep)), left_out


def _may_be_refused(payload: pa.ChunkedArray) -> pa.ChunkedArray:
    brackets = pc.add(pc.count_substring(payload, "["), pc.count_substring(payload, "{"))
    return pc.or_(pc.greater(brackets, MAX_DEPTH), pc.greater(pc.binary_length(payload), _SUSPECT_BYTES))


def _as_captured(row: dict[str, object]) -> str | None:
    """The payload's text in the raw record, None where the row does not fit into one at all."""
    payload = str(row["raw_payload"])
    rest = _FRAME_BYTES + sum(len(_text(row[name])) for name in ("event_type", "device"))
    if rest + len(_text(payload)) <= MAX_VALUE_BYTES:
        return payload
    return None if rest > MAX_VALUE_BYTES else replacement(payload.encode()).decode()

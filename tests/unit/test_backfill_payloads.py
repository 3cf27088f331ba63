"""Payloads in columns: the rare ones that live would have shrunk or refused, and nothing else."""

import msgspec

from engagement_stream.backfill.payloads import settle_payloads
from engagement_stream.capture.outgoing import MAX_VALUE_BYTES
from engagement_stream.sinks.bigquery.payload import MAX_DEPTH, json_problem
from tests.fixtures.staged_rows import staged_rows


def _rows(payload: str | None) -> list[str | None]:
    rows, left_out = settle_payloads(staged_rows([1, 2], payload=payload))
    assert not left_out
    found: list[str | None] = rows.column("raw_payload").to_pylist()
    return found


def test_ordinary_payloads_pass_untouched() -> None:
    """Short, long, with many brackets but flat, none at all."""
    flat = "[" + ",".join(["[]"] * 2_000) + "]"
    for payload in ('{"a":1}', f'"{"x" * 100_000}"', flat, None):
        assert _rows(payload) == [payload, payload]


def test_a_payload_too_large_to_travel_becomes_hash_and_size() -> None:
    """As capture does it; one that just fits stays."""
    large = f'"{"x" * MAX_VALUE_BYTES}"'
    (found, _) = _rows(large)
    assert msgspec.json.decode(found or "")["size"] == len(large)
    fits = f'"{"x" * (MAX_VALUE_BYTES - 10_000)}"'
    assert _rows(fits) == [fits, fits]


def test_a_payload_nested_too_deeply_is_left_out() -> None:
    """Brackets within strings do not count."""
    deep = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    rows, left_out = settle_payloads(staged_rows([1], payload=deep))
    assert rows.num_rows == 0
    assert [event_id for event_id, _ in left_out] == [1]
    assert not json_problem("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert not json_problem(msgspec.json.encode(["[{" * MAX_DEPTH, '\\"[']).decode())

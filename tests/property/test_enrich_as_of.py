"""The as-of join against the plain statement of its rule, and poison of every kind."""

import msgspec
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.enrich.catalog import Catalog
from engagement_stream.enrich.rules import enrich
from engagement_stream.enrich.storable import Rejected
from engagement_stream.enrich.translate import Read, read, translate
from engagement_stream.model.change import ContentChange, ContentRow, EventChange, EventRow, Source
from engagement_stream.model.engagement import decode_engagement, encode_enriched
from engagement_stream.model.position import BEGINNING, Position

positions = st.tuples(st.integers(1, 30), st.integers(2, 5))


def version(at: Position, op: str) -> ContentChange:
    row = ContentRow("a", "slug", str(at), "2025-01-01T00:00:00Z")
    return ContentChange(
        op, Source("content", 1, at, BEGINNING), row if op == "d" else None, None if op == "d" else row
    )


@given(st.dictionaries(positions, st.sampled_from("ud"), max_size=12), positions)
def test_the_join_is_the_newest_version_strictly_before(history: dict[Position, str], at: Position) -> None:
    """Whatever the history and the order of repetitions: the answer is what the rule says in one line."""
    ordered = sorted(history.items())
    catalog = Catalog()
    for position, op in [*ordered, *ordered[: len(ordered) // 2]]:  # a replay repeats a part
        catalog.add(version(position, op))
    older = [(position, op) for position, op in ordered if position < at]
    change = EventChange("c", Source("e", 1, at, BEGINNING), None, EventRow(1, "2025-08-01T12:00:00Z", "a"))
    try:
        title = enrich(change, catalog.versions).title
    except Rejected:
        assert ordered
        assert not older
        return
    if older and older[-1][1] != "d":
        assert title == str(older[-1][0])
    else:
        assert title is None
        assert older or not ordered


@given(
    st.lists(
        st.binary(max_size=40)
        | st.none()
        | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode),
        max_size=10,
    )
)
def test_no_bytes_stop_the_stage(values: list[bytes | None]) -> None:
    """Every record becomes a letter with its own bytes, or nothing (a tombstone); the position passes them all."""
    batch = Read()
    read([Message("raw", 0, offset, b"k", value) for offset, value in enumerate(values)], batch)
    output = translate(batch, {})
    assert output.records == []
    assert [letter.value for letter in output.letters] == [value for value in values if value is not None]
    assert batch.ends == ({0: len(values)} if values else {})


@given(
    st.builds(
        EventRow,
        id=st.integers(),
        event_ts=st.just("2025-08-01T12:00:00Z"),
        content_id=st.none() | st.text(),
        device=st.none() | st.text(),
        duration_ms=st.none() | st.integers(),
        raw_payload=st.none() | st.text(),
    )
)
def test_what_is_enriched_can_be_read_and_reads_the_same(row: EventRow) -> None:
    """Any text and any number: refused, or encoded to bytes that decode to the very same record."""
    try:
        enriched = enrich(EventChange("c", Source("e", 1, (2, 2), BEGINNING), None, row), {})
    except Rejected:
        return
    value = encode_enriched(enriched)
    assert decode_engagement(value) == enriched
    assert encode_enriched(decode_engagement(value)) == value

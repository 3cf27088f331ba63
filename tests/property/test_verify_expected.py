"""The ledger's own as-of join and enrich's agree on every history, though they share no code."""

from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.enrich.catalog import Catalog
from engagement_stream.enrich.rules import enrich
from engagement_stream.enrich.storable import Rejected
from engagement_stream.model.change import ContentChange, ContentRow, EventChange, EventRow, Source
from engagement_stream.model.engagement import encode_enriched
from engagement_stream.verify.expected import expected

_positions = st.tuples(st.integers(1, 6), st.integers(0, 4))
_moments = st.sampled_from(
    ["2025-08-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "infinity", "0044-03-15T00:00:00Z BC"]
)
_lengths = st.sampled_from([None, 0, -7, 1, 61, 1 << 62, 1 << 64])


@st.composite
def _contents(draw: st.DrawFn) -> ContentChange:
    row = ContentRow(
        draw(st.sampled_from("ab")), "s", draw(st.text(max_size=3)), draw(_moments), "video", draw(_lengths)
    )
    op = draw(st.sampled_from("rcud"))
    gone = op == "d"
    return ContentChange(
        op, Source("content", 1, draw(_positions), (0, 0)), row if gone else None, None if gone else row
    )


@st.composite
def _events(draw: st.DrawFn) -> EventChange:
    row = EventRow(
        draw(st.integers(-3, 3) | st.just(1 << 63)),
        draw(_moments),
        draw(st.sampled_from(["a", "b", "c", None])),
        None,
        draw(st.none() | st.text(max_size=3)),
        draw(st.none() | st.integers(-(1 << 31), 1 << 31)),
    )
    return EventChange(
        draw(st.sampled_from("cr")),
        Source("engagement_events", draw(st.integers(0, 9)), draw(_positions), (0, 0)),
        None,
        row,
    )


@given(st.lists(_contents(), max_size=8), st.lists(_events(), min_size=1, max_size=5))
def test_both_joins_give_the_same_bytes_or_refuse_the_same(
    contents: list[ContentChange], events: list[EventChange]
) -> None:
    """Versions in any number, deleted, made again, at equal positions."""
    catalog = Catalog()
    for content in sorted(contents, key=lambda change: change.source.position):
        catalog.add(content)
    for event in events:
        wanted = expected(event, catalog.versions)
        try:
            made = enrich(event, catalog.versions)
        except Rejected:
            assert wanted is None
        else:
            assert wanted is not None
            assert encode_enriched(made) == encode_enriched(wanted)

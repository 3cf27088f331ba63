"""The columnar rules give what the live ones give, value by value, for whatever the source may hold."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from engagement_stream.backfill.history import history, table_history
from engagement_stream.backfill.rules import enrich_columns
from engagement_stream.backfill.source import COLUMNS
from engagement_stream.enrich.catalog import Catalog
from engagement_stream.enrich.rules import enrich
from engagement_stream.enrich.storable import Rejected
from engagement_stream.model.change import ContentChange, ContentRow, EventChange, EventRow, Source
from engagement_stream.model.engagement import Engagement, encode_enriched
from engagement_stream.sinks.bigquery.rows import Event, decode_event

SNAPSHOT_US = 1_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CONTENTS = ["a", "b", "c"]
_moments = st.integers(-62_135_510_400_000_000, 253_402_200_000_000_000).map(
    lambda us: EPOCH + timedelta(microseconds=us)
)
"""Years 1 to 9999."""
_published = st.one_of(_moments.map(lambda m: m.isoformat().replace("+00:00", "Z")), st.just("infinity"))
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
_content_rows = st.builds(
    ContentRow,
    id=st.sampled_from(CONTENTS),
    slug=_texts,
    title=_texts,
    publish_ts=_published,
    content_type=st.sampled_from([None, "video"]),
    length_seconds=st.one_of(st.none(), st.just(0), st.integers(-(1 << 31), (1 << 31) - 1)),
)
_changes = st.lists(st.tuples(st.integers(SNAPSHOT_US + 1, 2_000), _content_rows, st.booleans()), max_size=12)


@st.composite
def content_topics(draw: st.DrawFn) -> list[ContentChange]:
    """What the content topic may hold: a first copy, then changes; oldest versions may have been compacted away."""
    copied = {row.id: row for row in draw(st.lists(_content_rows, max_size=3))}
    found = [
        ContentChange("r", Source("content", SNAPSHOT_US, (SNAPSHOT_US, 0), (0, 0)), None, row)
        for row in copied.values()
    ]
    alive = dict(copied)
    lost = draw(st.sets(st.sampled_from(CONTENTS), max_size=1))
    for at_us, row, ends in sorted(draw(_changes), key=lambda change: change[0]):
        if found and found[-1].source.position[0] == at_us:
            continue
        before = alive.pop(row.id, None)
        op = "c" if before is None else "d" if ends else "u"
        after = None if op == "d" else row
        if after is not None:
            alive[row.id] = after
        found.append(ContentChange(op, Source("content", at_us, (at_us, 2), (0, 0)), before, after))
    kept = []
    for change in found:
        row_id = (change.after or change.before).id  # type: ignore[union-attr]  # one is there
        if row_id in lost:  # its first record is gone
            lost.discard(row_id)
        else:
            kept.append(change)
    return kept


_events = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from([*CONTENTS, "unknown"])),
        _moments,
        st.one_of(st.none(), st.integers(-(1 << 53), 1 << 53)),
        st.one_of(st.none(), _texts),
        st.integers(1, 2_000).filter(lambda at_us: at_us != SNAPSHOT_US),
    ),
    min_size=1,
    max_size=20,
)


@settings(deadline=None, max_examples=300)
@given(content_topics(), _events)
def test_both_ways_give_the_same_values(topic: list[ContentChange], events: list[tuple]) -> None:  # type: ignore[type-arg]
    """NULLs, odd times, content deleted, made anew or lost, and events that are refused for the same reason."""
    catalog, commit_us = Catalog(), {}
    for change in topic:
        catalog.add(change)
        commit_us[change.source.position] = change.source.ts_us
    rows, live, refused = [], {}, []
    for event_id, (content_id, moment, duration_ms, device, at_us) in enumerate(events):
        text = moment.isoformat().replace("+00:00", "Z")
        copied = at_us < SNAPSHOT_US
        position = (SNAPSHOT_US, 1) if copied else (at_us, 5)
        row = EventRow(event_id, text, content_id, None, "play", duration_ms, device, None)
        source = Source("engagement_events", at_us, position, (0, 0))
        try:
            live[event_id] = enrich(EventChange("r" if copied else "c", source, None, row), catalog.versions)
        except Rejected as reason:
            refused.append((event_id, reason.reason))
        commit_ts = EPOCH + timedelta(microseconds=at_us)
        rows.append((event_id, content_id, None, "play", moment, duration_ms, device, None, commit_ts))
    batch = pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), COLUMNS, strict=True)],
        schema=COLUMNS,
    )
    enriched = enrich_columns(batch, history(catalog.versions, commit_us))
    assert enriched.left_out == refused
    assert enriched.by_event_time == 0
    found = enriched.rows.to_pylist()
    assert [row["event_id"] for row in found] == list(live)
    for row in found:
        assert {name: row[name] for name in Event.__struct_fields__ if name in row} == _stored(live[row["event_id"]])


def _stored(event: Engagement) -> dict[str, object]:
    """As the streaming sink would store it."""
    stored = decode_event(encode_enriched(event))
    unlike = {"position", "commit_ts_us", "source"}
    return {name: getattr(stored, name) for name in Event.__struct_fields__ if name not in unlike}


@given(st.lists(_content_rows, max_size=3, unique_by=lambda row: row.id), _events)
@settings(deadline=None, max_examples=50)
def test_without_a_topic_the_table_is_the_history(contents: list[ContentRow], events: list[tuple]) -> None:  # type: ignore[type-arg]
    """And a row whose commit time is not known is placed by its event time."""
    known = table_history(row for row in contents if row.publish_ts != "infinity")
    slugs = {row.id: row.slug for row in contents if row.publish_ts != "infinity"}
    rows = [(i, e[0], None, None, e[1], e[2], e[3], None, None) for i, e in enumerate(events)]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), COLUMNS, strict=True)],
        schema=COLUMNS,
    )
    enriched = enrich_columns(batch, known)
    assert enriched.by_event_time == len(events)
    assert enriched.rows.column("slug").to_pylist() == [slugs.get(e[0]) for e in events]

"""The as-of join and the arithmetic, case by case."""

import json
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Message

from engagement_stream.enrich.catalog import Catalog
from engagement_stream.enrich.rules import enrich
from engagement_stream.enrich.storable import HISTORY_GONE, TIMESTAMP_OUT_OF_RANGE, Rejected, storable_timestamp
from engagement_stream.enrich.translate import Read, read, translate
from engagement_stream.model.change import ContentChange, ContentRow, EventChange, EventRow, Source
from engagement_stream.model.engagement import Engagement
from engagement_stream.model.position import BEGINNING, Position

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def version(
    at: Position,
    *,
    op: str = "r",
    content_id: str = "a",
    length: int | None = 200,
    publish_ts: str = "2025-01-01T00:00:00Z",
) -> ContentChange:
    row = ContentRow(content_id, "slug", f"title {at}", publish_ts, "video", length)
    return ContentChange(
        op, Source("content", 1, at, BEGINNING), row if op == "d" else None, None if op == "d" else row
    )


def event(
    at: Position, *, content_id: str | None = "a", ms: int | None = 1_500, ts: str = "2025-08-01T12:00:00Z"
) -> EventChange:
    return EventChange(
        "c", Source("engagement_events", 7, at, BEGINNING), None, EventRow(1, ts, content_id, duration_ms=ms)
    )


def joined(change: EventChange, *versions: ContentChange) -> Engagement:
    catalog = Catalog()
    for one in versions:
        catalog.add(one)
    return enrich(change, catalog.versions)


def test_seconds_and_percent_are_what_the_mission_says() -> None:
    """duration_ms / 1000, and that by the length, times 100."""
    row = joined(event((2, 2)), version((1, 0)))
    assert (row.engagement_seconds, row.engagement_pct) == (1.5, 1.5 / 200 * 100)


@pytest.mark.parametrize(
    ("ms", "length", "seconds", "percent"),
    [
        (None, 200, None, None),
        (1_500, None, 1.5, None),
        (1_500, 0, 1.5, None),
        (0, 200, 0.0, 0.0),
        (-500, 200, -0.5, -0.25),
    ],
)
def test_null_in_is_null_out_and_a_length_of_zero_is_no_error(
    ms: int | None, length: int | None, seconds: float | None, percent: float | None
) -> None:
    """Nothing is invented for what is not known."""
    row = joined(event((2, 2), ms=ms), version((1, 0), length=length))
    assert (row.engagement_seconds, row.engagement_pct) == (seconds, percent)


def test_an_event_joins_the_newest_version_strictly_before_it() -> None:
    """A change at its own position or later is not seen, even in the same transaction."""
    versions = version((1, 0)), version((5, 2), op="u"), version((5, 9), op="u")
    assert joined(event((5, 2)), *versions).title == "title (1, 0)"
    assert joined(event((5, 3)), *versions).title == "title (5, 2)"
    assert joined(event((6, 2)), *versions).title == "title (5, 9)"


def test_content_that_is_unknown_deleted_or_not_yet_made_gives_nulls() -> None:
    """The event is delivered all the same."""
    assert joined(event((9, 2), content_id=None), version((1, 0))).slug is None
    assert joined(event((9, 2), content_id="b"), version((1, 0))).slug is None
    assert joined(event((9, 2)), version((1, 0)), version((5, 2), op="d")).slug is None
    assert joined(event((5, 2)), version((5, 3), op="c")).slug is None


def test_a_version_that_compaction_took_away_is_not_taken_for_null() -> None:
    """The oldest version known is no creation: there was an older one."""
    with pytest.raises(Rejected, match="oldest known version") as refusal:
        joined(event((2, 2)), version((5, 2), op="u"))
    assert refusal.value.reason == HISTORY_GONE


@pytest.mark.parametrize("text", ["infinity", "-infinity", "0044-03-15T00:00:00Z BC", "10000-01-01T00:00:00Z", "", "x"])
def test_a_date_no_sink_can_store_is_refused_by_name(text: str) -> None:
    """On the event itself, and on the content it joins."""
    assert not storable_timestamp(text)
    for change, content in (
        (event((2, 2), ts=text), version((1, 0))),
        (event((2, 2)), version((1, 0), publish_ts=text)),
    ):
        with pytest.raises(Rejected) as refusal:
            joined(change, content)
        assert refusal.value.reason == TIMESTAMP_OUT_OF_RANGE


def test_the_first_copy_is_whole_only_at_a_certain_end() -> None:
    """Its records share one position; having seen one of them is not having seen them all."""
    catalog = Catalog()
    catalog.add(version((1, 0)))
    assert not catalog.covers((1, 0))
    catalog.at_end(certain=False)
    assert not catalog.covers((1, 0))
    catalog.at_end(certain=True)
    assert catalog.covers((1, 0))


def test_a_deletion_may_be_the_first_half_of_a_changed_key() -> None:
    """The d and c of a changed primary key stand at one position: d alone does not cover it, the end or c does."""
    catalog = Catalog()
    catalog.add(version((5, 2), op="d"))
    assert not catalog.covers((5, 2))
    catalog.add(version((5, 2), op="c", content_id="b"))
    assert catalog.covers((5, 2))


def test_what_is_too_large_or_malformed_becomes_a_letter_and_its_offset_counts() -> None:
    """A refused record moves the position like any other."""
    big = EventChange(
        "c", Source("e", 1, (2, 2), BEGINNING), None, EventRow(1, "2025-08-01T12:00:00Z", raw_payload="x" * (7 << 20))
    )
    batch = Read()
    values = [msgspec.json.encode(big), b"\xff", b"{"]
    read([Message("raw", 3, 10 + n, b"k", value) for n, value in enumerate(values)], batch)
    output = translate(batch, {})
    assert batch.ends == {3: 13}
    assert output.records == []
    assert [(one.reason, one.value) for one in output.letters] == list(
        zip(["too large", "malformed", "malformed"], values, strict=True)
    )


def test_a_record_too_large_even_for_the_dead_letters_leaves_its_hash() -> None:
    """The letter could not be written with it; the stage must not stop at it for ever."""
    batch = Read()
    read([Message("raw", 0, 5, b"k", b"[" + b"1" * (9 << 20))], batch)
    (letter,) = translate(batch, {}).letters
    assert letter.value is None
    assert "sha256" in letter.detail


def test_the_schema_names_exactly_the_fields_of_an_engagement() -> None:
    """docs/reference/enriched-record.schema.json is the description of model/engagement.py: names, order, NULLs."""
    schema = json.loads((REFERENCE / "enriched-record.schema.json").read_text())
    fields = msgspec.structs.fields(Engagement)
    assert list(schema["properties"]) == [field.name for field in fields] == schema["required"]
    kinds: dict[object, str] = {int: "integer", float: "number", str: "string", tuple: "array"}
    for field in fields:
        arguments: tuple[object, ...] = getattr(field.type, "__args__", ())
        nullable = type(None) in arguments
        plain = arguments[0] if nullable else getattr(field.type, "__origin__", field.type)
        expected = [kinds[plain], "null"] if nullable else kinds[plain]
        assert schema["properties"][field.name]["type"] == expected, field.name

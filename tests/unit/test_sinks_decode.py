"""From bytes to events: what cannot be read becomes a letter, what is no event is passed over."""

from engagement_stream.model.engagement import decode_engagement
from engagement_stream.sinks.base import Slice
from engagement_stream.sinks.decode import Decoded, decode
from engagement_stream.sinks.redis.fold import decode_event
from tests.fixtures.engagements import engagement, record, watermark


def read(*values: bytes) -> Decoded[object]:
    """Decode these records, from offset 10 on."""
    offsets = list(range(10, 10 + len(values)))
    return decode(Slice(3, 10, 10 + len(values), offsets, list(values)), decode_engagement, stage="s", topic="t")


def test_events_keep_their_offsets() -> None:
    """Whatever stands between them."""
    found = read(record(1), watermark(), record(2))
    assert found == Decoded([10, 12], [record(1), record(2)], [engagement(1), engagement(2)], [])


def test_what_cannot_be_read_becomes_a_letter_with_its_bytes_and_the_reason() -> None:
    """Empty values, other JSON, no JSON, no UTF-8; its neighbours are not touched."""
    bad = [b"", b"[]", b"{", b'{"v":1}', b'{"v":1,"event_id":"\xff"}']
    found = read(record(1), *bad, watermark(), record(2))
    assert found.events == [engagement(1), engagement(2)]
    assert found.offsets == [10, 17]
    assert [letter.value for letter in found.letters] == bad
    assert [letter.offset for letter in found.letters] == [11, 12, 13, 14, 15]
    assert found.letters[0].name == b"s/t/3/11"
    assert {letter.reason for letter in found.letters} == {"malformed"}
    assert all(letter.detail for letter in found.letters)


def test_an_empty_slice_has_no_events() -> None:
    """Markers alone."""
    assert read() == Decoded([], [], [], [])


def test_numbers_that_the_totals_could_not_hold_exactly_are_refused() -> None:
    """The source cannot send them; a stranger could."""
    good = record(1)
    for wrong in (
        good.replace(b'"duration_ms":1500', b'"duration_ms":1500000000000'),
        good.replace(b'"event_id":1,', b'"event_id":99999999999999999999,'),
        good.replace(b'"commit_ts_us":17', b'"commit_ts_us":-17'),
        good.replace(b'"position":[1001', b'"position":[-1001'),
        good.replace(b'00Z","duration', b'00","duration'),
    ):
        part = Slice(0, 0, 1, [0], [wrong])
        assert wrong != good
        assert len(decode(part, decode_event, stage="s", topic="t").letters) == 1
    assert decode_event(good).event_id == 1

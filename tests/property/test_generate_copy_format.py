"""The binary COPY stream says exactly what the events say, whatever text is in them."""

import json
from struct import unpack_from

from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.generate.copy_format import COLUMNS, HEADER, TRAILER, encode
from engagement_stream.generate.traffic import Event

_EPOCH_2000_US = 946_684_800_000_000
_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
_uuid = st.binary(min_size=16, max_size=16)
_events = st.lists(
    st.builds(
        Event,
        content_id=st.none() | _uuid,
        user_id=st.none() | _uuid,
        event_type=st.none() | st.sampled_from(("play", "pause", "finish", "click")),
        event_ts_us=st.integers(-(10**15), 4 * 10**15),
        duration_ms=st.none() | st.integers(-(2**31), 2**31 - 1),
        device=st.none() | _text,
        raw_payload=st.none() | st.builds(lambda text: json.dumps({"t": text}, ensure_ascii=False).encode(), _text),
    ),
    max_size=20,
)


def _decoded(stream: bytes) -> list[Event]:
    """Read by the documentation, not by our encoder."""
    assert stream.startswith(b"PGCOPY\n\xff\r\n\0")
    place = len(HEADER)
    rows = []
    while (count := unpack_from(">h", stream, place)[0]) != -1:
        assert count == len(COLUMNS)
        place += 2
        fields: list[bytes | None] = []
        for _ in range(count):
            (length,) = unpack_from(">i", stream, place)
            place += 4
            fields.append(None if length == -1 else stream[place : place + length])
            place += max(length, 0)
        content_id, user_id, event_type, event_ts, duration, device, payload = fields
        assert event_ts is not None
        assert payload is None or payload[:1] == b"\x01"
        rows.append(
            Event(
                content_id,
                user_id,
                None if event_type is None else event_type.decode(),
                int.from_bytes(event_ts, signed=True) + _EPOCH_2000_US,
                None if duration is None else int.from_bytes(duration, signed=True),
                None if device is None else device.decode(),
                None if payload is None else payload[1:],
            )
        )
    assert stream[place:] == TRAILER
    return rows


@given(events=_events)
def test_a_stream_reads_back_as_the_events_it_was_made_of(events: list[Event]) -> None:
    """NULL stays NULL, empty stays empty, every character stays itself."""
    assert _decoded(encode(events)) == events

"""The engine: believable in the mass, coherent in every session, the same again for the same seed."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

from engagement_stream.generate.population import catalogue
from engagement_stream.generate.report import Report
from engagement_stream.generate.rhythm import even
from engagement_stream.generate.traffic import Event, Traffic, fast_motion, lateness_us

NOW_US = 1_790_000_000_000_000


def _traffic(seed: int = 7, rate_per_s: float = 20.0, not_before_us: int = 0) -> Traffic:
    return Traffic(catalogue(NOW_US), seed, rate_per_s=rate_per_s, not_before_us=not_before_us)


def _an_hour(count: int = 20_000, seed: int = 7) -> list[Event]:
    traffic = _traffic(seed, count / 3600)
    traffic.warm_up(NOW_US)
    return traffic.events(even(NOW_US, NOW_US + 3_600_000_000, count))


def test_the_same_seed_gives_the_same_events() -> None:
    """And another one others."""
    assert _an_hour(2_000) == _an_hour(2_000)
    assert _an_hour(2_000) != _an_hour(2_000, seed=8)


def test_every_moment_has_its_event() -> None:
    """Also the first one, also with nobody there before."""
    assert len(_traffic().events(even(NOW_US, NOW_US + 1_000_000, 1_234))) == 1_234


def test_all_kinds_of_events_and_gaps_occur_in_sane_shares() -> None:
    """Plays lead, finishes are fewer than plays, and each kind of NULL is there but rare."""
    events = _an_hour()
    types = Counter(event.event_type for event in events)
    assert types["play"] > types["pause"] > types["finish"] > 1_000
    assert types["click"] > 1_000
    assert 0 < types[None] < 30

    def share_of_nulls(column: str) -> float:
        return sum(getattr(event, column) is None for event in events) / len(events)

    assert 0 < share_of_nulls("content_id") < 0.01
    assert 0.03 < share_of_nulls("user_id") < 0.15
    assert 0 < share_of_nulls("device") < 0.05
    assert 0.05 < share_of_nulls("raw_payload") < 0.2
    assert {"ios", "android", "web", "tv", "smart_speaker"} < {event.device for event in events}
    assert all(event.duration_ms is None for event in events if event.event_type == "click")


def test_newsletters_are_clicked_and_never_played() -> None:
    """There is nothing to play in them."""
    letters = {content.id_bytes for content in catalogue(NOW_US) if content.content_type == "newsletter"}
    assert {event.event_type for event in _an_hour() if event.content_id in letters} <= {"click", None}


def test_what_a_person_does_with_an_item_makes_sense_in_order() -> None:
    """A pause or finish follows a play; a play never follows an open play of the same session."""
    traffic = _traffic(rate_per_s=5)
    by_session: dict[object, list[str | None]] = defaultdict(list)
    for event in traffic.events(even(NOW_US, NOW_US + 3_600_000_000, 18_000)):
        if event.user_id and event.content_id and event.raw_payload:
            position = event.raw_payload.rindex(b',"position_ms"')
            key = (event.user_id, event.content_id, event.device, event.raw_payload[:position])
            by_session[key].append(event.event_type)
    whole = [types for types in by_session.values() if len(types) > 1 and None not in types and "click" not in types]
    assert len(whole) > 1_000
    assert all(types[0] == "play" for types in whole)
    repeated = [types for types in whole if ("play", "play") in pairwise(types)]
    assert len(repeated) < len(whole) / 50  # one person came back for the same item with the same payload


def test_payloads_are_json_in_many_scripts() -> None:
    """Every one parses; Arabic and astral characters are among them."""
    payloads = [event.raw_payload for event in _an_hour(5_000) if event.raw_payload]
    parsed = [json.loads(payload) for payload in payloads]
    assert all(value["position_ms"] >= 0 for value in parsed)
    assert any("أخبار" in str(value) for value in parsed)
    assert any(ord(max(str(value))) > 0xFFFF for value in parsed)
    assert len(set(payloads)) > len(payloads) / 3


def test_most_events_are_of_now_some_late_and_none_of_the_future() -> None:
    """95% within a second, one in a hundred by minutes, few by hours."""
    moments = list(even(NOW_US, NOW_US + 600_000_000, 20_000))
    late_s = [
        (at_us - event.event_ts_us) / 1e6 for at_us, event in zip(moments, _traffic().events(moments), strict=True)
    ]
    assert min(late_s) >= 0
    assert sum(late < 1 for late in late_s) / len(late_s) > 0.9
    assert 0.005 < sum(late > 100 for late in late_s) / len(late_s) < 0.03
    assert 0 < sum(late > 3600 for late in late_s) / len(late_s) < 0.005
    assert lateness_us(0.999999) < 12 * 3_600_000_000


def test_history_does_not_reach_behind_its_first_day() -> None:
    """However late an event was."""
    events = _traffic(not_before_us=NOW_US).events(even(NOW_US, NOW_US + 60_000_000, 20_000))
    assert min(event.event_ts_us for event in events) == NOW_US


def test_a_load_test_does_not_hold_millions_of_sessions_open() -> None:
    """At a high rate people live in fast motion, so the open sessions stay bounded."""
    traffic = _traffic(rate_per_s=50_000)
    traffic.warm_up(NOW_US)
    traffic.events(even(NOW_US, NOW_US + 4_000_000, 200_000))
    assert fast_motion(20) == 1
    assert len(traffic._open) < 30_000


def test_a_report_reads_as_a_sentence() -> None:
    """What the command line prints."""
    assert str(Report(100, 100, 0.5)) == "100 events written in 0.5 s (200/s)"
    waiting = Report(1_000, 2_000, 4.0, behind_s=3.0, content_changes=2, waiting_for="connection refused")
    assert str(waiting) == (
        "1,000 of 2,000 events written in 4.0 s (250/s), 2 content changes, 3.0 s behind schedule; "
        "waiting: connection refused"
    )

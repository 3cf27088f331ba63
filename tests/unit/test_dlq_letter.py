"""Dead letters without a queue: their ids, cursors and filters, and what a stage's status says of its replays."""

from datetime import UTC, datetime

import pytest

from engagement_stream.broker.retry import parse_place, place
from engagement_stream.dlq.letter import Filter, Letter, decode_cursor, encode_cursor, name_of, not_replayable
from engagement_stream.errors import ConfigurationError
from engagement_stream.observe.status import StageStatus


def _letter(stage: str = "http", topic: str = "engagement-enriched", size: int = 1) -> Letter:
    name = f"{stage}/{topic}/2/17"
    return Letter(1, name, stage, topic, 2, 17, "refused", 5_000, 0, 0, size, 0, f"{topic}/2/17", "open", None, "")


def test_both_forms_of_an_id_name_the_same_letter() -> None:
    """Slashes for people, tildes for a URL."""
    letter = _letter(topic="a.b_c-d")
    assert letter.url_id == "http~a.b_c-d~2~17"
    assert name_of(letter.url_id) == name_of(f" {letter.name} ") == letter.name


def test_a_cursor_leads_back_to_its_letter_and_nonsense_is_told() -> None:
    """Whoever kept one for a week gets a sentence, not a trace."""
    letter = _letter()
    assert decode_cursor(encode_cursor(letter)) == (letter.at_ms, letter.name)
    for text in ("", "5", "x~y", "~"):
        with pytest.raises(ConfigurationError, match="cursor"):
            decode_cursor(text)


def test_a_place_is_read_back_and_nothing_else_is_one() -> None:
    """A topic's name may hold dots and digits, never a slash."""
    assert parse_place(place("a.b-1", 3, 0)) == ("a.b-1", 3, 0)
    for text in ("", "a/b", "/1/2", "a/1/x", "a/-1/2"):
        assert parse_place(text) is None


def test_a_filter_without_restrictions_means_the_open_letters() -> None:
    """And every restriction becomes one condition; a moment without a zone is UTC."""
    assert Filter().condition() == ("true and state = ?", ["open"])
    wanted = Filter("http", "refused", datetime(1970, 1, 1, 0, 0, 1), datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC), None)  # noqa: DTZ001 - as a person types it
    condition, values = wanted.condition()
    assert condition.count("?") == len(values) == 4
    assert values[-2:] == [1_000, 2_000]
    assert "stage http, reason refused" in str(wanted)


def test_what_cannot_be_sent_back_says_what_to_do_instead() -> None:
    """Only what has bytes, and a stage that can take them."""
    assert not not_replayable(_letter())
    assert "too large" in not_replayable(_letter("enrich", size=0))
    assert "insert it again" in not_replayable(_letter("capture", "engagement_events"))
    assert "the next version is delivered" in not_replayable(_letter("capture", "content"))
    assert "no stage" in not_replayable(_letter("elsewhere"))


def test_a_stage_says_when_its_replays_are_in_trouble_and_its_own_trouble_first() -> None:
    """/health shows one state a stage."""
    status = StageStatus("http")
    replays = status.of_replays()
    status.running()
    replays.running()
    assert status.report().state == "running"
    replays.halted("the bytes cannot be repeated", "start the newer release")
    report = status.report()
    assert (report.state, report.remedy) == ("halted", "start the newer release")
    assert report.reason == "replays of dead letters: the bytes cannot be repeated"
    status.waiting("the endpoint is away")
    assert status.report().reason == "the endpoint is away"

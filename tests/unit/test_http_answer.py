"""Answers of the HTTP endpoint as decisions."""

from datetime import UTC, datetime, timedelta

import pytest

from engagement_stream.sinks.http.answer import (
    LONGEST_RETRY_AFTER_S,
    Answer,
    Delivered,
    Hold,
    Later,
    Refused,
    TooLarge,
    judge,
    retry_after_s,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ((200, 201, 202, 204, 299), Delivered),
        ((408, 409, 425, 429, 500, 502, 503, 504, 599), Later),
        ((413,), TooLarge),
        ((400, 422), Refused),
        ((300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 406, 410, 415, 451), Hold),
    ],
)
def test_each_status_has_one_meaning(statuses: tuple[int, ...], verdict: type) -> None:
    """The table of the module."""
    assert {type(judge(Answer(status), NOW)) for status in statuses} == {verdict}


@pytest.mark.parametrize("status", range(100, 600))
def test_only_a_refusal_may_cost_an_event(status: int) -> None:
    """Whatever else comes, the batch is delivered or kept."""
    assert isinstance(judge(Answer(status), NOW), Refused | TooLarge) == (status in {400, 413, 422})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("99999999999999999999", LONGEST_RETRY_AFTER_S),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("\u0667", None),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 12:00:00 GMT", LONGEST_RETRY_AFTER_S),
        ("Thu, 99 Jan 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_an_hour(header: str | None, seconds: float | None) -> None:
    """Nonsense is as if it had not been said."""
    assert retry_after_s(header, NOW) == seconds


def test_a_date_in_any_zone_is_understood() -> None:
    """RFC 9110 says GMT; others send offsets."""
    other = NOW + timedelta(seconds=90)
    assert retry_after_s(other.strftime("%a, %d %b %Y %H:%M:%S +0000"), NOW) == 90.0


def test_the_reason_says_what_to_check_and_shows_no_body() -> None:
    """Bodies may hold anything; reasons are logged."""
    verdict = judge(Answer(401, text="token abc"), NOW)
    assert isinstance(verdict, Hold)
    assert "EXTERNAL_API_TOKEN" in verdict.reason
    assert "abc" not in verdict.reason

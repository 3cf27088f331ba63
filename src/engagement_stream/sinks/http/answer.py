"""What an answer means, as a value; no clock, no network.

| answer | meaning |
|---|---|
| 2xx | the batch is delivered |
| 408 409 425 429 5xx, no answer | the same batch later; Retry-After is obeyed |
| 413 | too large: half of it |
| 400 422 | something in it is refused: half of it, down to the record |
| everything else (3xx is never followed) | the endpoint or its settings are wrong: hold everything, tell a person |
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER_S = 3600.0
_LATER = frozenset({408, 409, 425, 429})
_REFUSED = frozenset({400, 422})
_REMEDIES = {
    401: "check EXTERNAL_API_TOKEN and EXTERNAL_API_SECRET",
    403: "check what EXTERNAL_API_TOKEN may do",
    404: "check EXTERNAL_API_URL",
    405: "check EXTERNAL_API_URL: it does not take POST",
    410: "the receiver says that it is gone for good: check EXTERNAL_API_URL",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `text` is the beginning of the body, for dead letters only."""

    status: int
    retry_after: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has the batch."""


@dataclass(frozen=True, slots=True)
class Later:
    """The same bytes again; `after_s` is the receiver's wish, None leaves it to the back-off."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing of the events is at fault; a person has to change something."""

    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Half of it may pass."""

    detail: str


@dataclass(frozen=True, slots=True)
class Refused:
    """At least one record of it will never be taken."""

    detail: str


Verdict = Delivered | Later | Hold | TooLarge | Refused


def judge(answer: Answer, now: datetime) -> Verdict:
    """The meaning of an answer; the table above."""
    status = answer.status
    if 200 <= status < 300:
        return Delivered()
    said = f"the endpoint answered {status}"
    if status in _LATER or status >= 500:
        after_s = retry_after_s(answer.retry_after, now)
        return Later(said if after_s is None else f"{said} and asked for {after_s:.0f} s of rest", after_s)
    if status == 413:
        return TooLarge(f"{status} {answer.text}".strip())
    if status in _REFUSED:
        return Refused(f"{status} {answer.text}".strip())
    if 300 <= status < 400:
        return Hold(f"{said}: redirects are not followed, set EXTERNAL_API_URL to where it leads")
    return Hold(f"{said}: {_REMEDIES.get(status, 'check EXTERNAL_API_URL and what the receiver expects')}")


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds or an HTTP date (RFC 9110, 10.2.3) -> seconds from now, within an hour; None for none or nonsense."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER_S)
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return min(max((then - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_S)

"""A dead letter as the queue shows it, what can be asked for, and the forms of its id. Pure.

A letter's name is `stage/topic/partition/offset`, the place where the record failed. In a URL the slashes are tildes,
which no topic's name holds: `http~engagement-enriched~2~17`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from engagement_stream.broker.topics import RETRIED_STAGES
from engagement_stream.errors import ConfigurationError

State = Literal["open", "replayed", "discarded"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter without its payload. `part`, `off`: where it lies in the queue; `at_ms` since 1970."""

    seq: int
    name: str
    stage: str
    topic: str
    partition: int
    offset: int
    reason: str
    at_ms: int
    part: int
    off: int
    size: int
    again: int
    """How many replays of the event have failed before."""
    origin: str
    """Where the event failed first, `topic/partition/offset`."""
    state: State
    handled_ms: int | None
    by: str

    @property
    def url_id(self) -> str:
        return self.name.replace("/", "~")

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.at_ms / 1000, UTC)

    @property
    def handled_at(self) -> datetime | None:
        return None if self.handled_ms is None else datetime.fromtimestamp(self.handled_ms / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters; what is None does not restrict. `since` is included, `until` is not."""

    stage: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    state: State | None = "open"

    def condition(self) -> tuple[str, list[object]]:
        """As SQL over the index."""
        parts: list[tuple[str, object]] = []
        for column, value in (("stage", self.stage), ("reason", self.reason), ("state", self.state)):
            if value is not None:
                parts.append((f"{column} = ?", value))
        if self.since is not None:
            parts.append(("at_ms >= ?", _ms(self.since)))
        if self.until is not None:
            parts.append(("at_ms < ?", _ms(self.until)))
        return " and ".join(["true", *(text for text, _ in parts)]), [value for _, value in parts]

    def __str__(self) -> str:
        named = {
            "stage": self.stage,
            "reason": self.reason,
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
        }
        return ", ".join(f"{name} {value}" for name, value in named.items() if value) or "all"


def name_of(letter_id: str) -> str:
    """The name behind either form of an id."""
    return letter_id.strip().replace("~", "/")


def encode_cursor(letter: Letter) -> str:
    """Where the next page begins."""
    return f"{letter.at_ms}~{letter.url_id}"


def decode_cursor(text: str) -> tuple[int, str]:
    """(at_ms, name) of the last letter shown. Raises ConfigurationError."""
    at_ms, _, name = text.partition("~")
    if not at_ms.isdecimal() or not name:
        raise ConfigurationError(f"{text!r} is not a cursor: take the one that the page before ended with")
    return int(at_ms), name_of(name)


def not_replayable(letter: Letter) -> str:
    """Why this letter cannot be sent back, and what to do instead; empty when it can."""
    if letter.stage == "capture":
        how = (
            "update it: the next version is delivered"
            if letter.topic == "content"
            else "delete it and insert it again (an update of an event is not delivered)"
        )
        return f"not replayable: the row never became a record. Correct it in PostgreSQL: {how}; then discard this."
    if letter.stage not in RETRIED_STAGES:
        return f"not replayable: there is no stage {letter.stage} to send it to."
    if letter.size == 0:
        return (
            f"not replayable: its bytes were too large for the queue, they lie at {letter.topic}[{letter.partition}]"
            f"@{letter.offset} as long as that topic keeps them."
        )
    return ""


def _ms(moment: datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

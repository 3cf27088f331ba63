"""What a replayed record carries beside the bytes that failed: which letter it was, where it came from, how often.

A replay keeps the value and the key untouched, so ids and the identity at the receiver stay what they were. The place
of the first failure travels along: a replay that fails again is a new letter, and still known for the same event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Message

from engagement_stream.broker.transaction import Headers

LETTER, ORIGIN, AGAIN = "letter", "origin", "again"


def replays_of(stage: str) -> str:
    """Name of the group, and in the metrics, of what is sent back to a stage."""
    return f"{stage}-retry"


@dataclass(frozen=True, slots=True)
class Replay:
    """`letter` is the name of the letter that was sent back, `origin` the place of the event's first failure.

    `again` counts the replays of this event, this one included.
    """

    letter: str
    origin: str
    again: int

    def headers(self) -> Headers:
        return [(LETTER, self.letter.encode()), (ORIGIN, self.origin.encode()), (AGAIN, b"%d" % self.again)]


def headers_of(message: Message) -> Mapping[str, str]:
    """The record's headers as text."""
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return {name: (value or b"").decode(errors="replace") for name, value in pairs}


def replay_of(message: Message) -> Replay | None:
    """None for a record that is no replay of ours."""
    found = headers_of(message)
    if LETTER not in found or ORIGIN not in found:
        return None
    count = found.get(AGAIN, "")
    return Replay(found[LETTER], found[ORIGIN], int(count) if count.isdigit() else 1)


def place(topic: str, partition: int, offset: int) -> str:
    """`topic/partition/offset`: a topic's name holds no slash."""
    return f"{topic}/{partition}/{offset}"


def parse_place(text: str) -> tuple[str, int, int] | None:
    """The inverse of `place`; None for anything else."""
    topic, _, rest = text.rpartition("/")
    topic, _, partition = topic.rpartition("/")
    if not topic or not partition.isdecimal() or not rest.isdecimal():
        return None
    return topic, int(partition), int(rest)

"""What the ledger found: one line a place, examples, and the places that could not be read."""

from typing import Literal

import msgspec

Kind = Literal["missing", "doubled", "wrong", "order_breaks"]
KINDS: tuple[Kind, ...] = ("missing", "doubled", "wrong", "order_breaks")
EXAMPLES = 5
"""Of each kind and place."""


class Finding(msgspec.Struct, frozen=True):
    """One row that is not as it should be; `detail` names the differing fields or what was found instead."""

    place: str
    kind: Kind
    id: str
    detail: str = ""


class Place(msgspec.Struct):
    """One place where events lie. All are counts of events, except `rows`: what was found there."""

    name: str
    rows: int = 0
    missing: int = 0
    doubled: int = 0
    wrong: int = 0
    order_breaks: int = 0
    """Events of a content that come after a later one of it, though the place before had them the other way round."""
    in_flight: int = 0
    """Not there, and not expected yet: behind the position of the stage that brings them."""
    dead_lettered: int = 0
    """Not there, but in the dead-letter queue."""
    changed_later: int = 0
    """Changed or deleted in PostgreSQL since: an event is a fact, its first image stays."""
    left_out: int = 0
    """Not there by a setting, or older than what the log still holds."""
    notes: list[str] = []

    @property
    def right(self) -> bool:
        return not (self.missing or self.doubled or self.wrong or self.order_breaks)


class Unreadable(msgspec.Struct, frozen=True):
    """A place that could not be read, and what to do."""

    place: str
    reason: str
    remedy: str


class Report(msgspec.Struct, frozen=True):
    """The whole answer."""

    places: list[Place]
    findings: list[Finding]
    unreadable: list[Unreadable]
    notes: list[str]
    seconds: float

    @property
    def exit_code(self) -> int:
        """1: something is missing, doubled, wrong or out of order. 2: a place could not be read. 0: all is right."""
        if not all(place.right for place in self.places):
            return 1
        return 2 if self.unreadable else 0

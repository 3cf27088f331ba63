"""One step of a protocol: a call between two crash points."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """A call in `where` (file::function) between two crash points.

    `before` is None where the call itself begins with crash points of its own. `reaches` names the places of the
    foreign calls it stands for (file::function), where they are not in `where` itself.
    """

    where: str
    call: str
    before: str | None
    after: str
    what: str
    reaches: tuple[str, ...] = ()

"""Which events' first images are already delivered while the first copy is on its way. Pure.

The copy goes through the snapshot's events by id. A live update or delete of an event that it has not reached yet
must first tell the event as it was (its `before`), because a copy that has to go on after a crash will not find it
any more; and the copy must then pass it over. Ids behind the copy need no memory, nor do those above the snapshot's
highest.
"""

from collections.abc import Iterable

_PAGE_BITS = 16
_PAGE_MASK = (1 << _PAGE_BITS) - 1


class IdSet:
    """A set of 64-bit ids, one bit each where they are dense."""

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._pages: dict[int, bytearray] = {}
        for number in ids:
            self.add(number)

    def __contains__(self, number: int) -> bool:
        page = self._pages.get(number >> _PAGE_BITS)
        bit = number & _PAGE_MASK
        return page is not None and page[bit >> 3] >> (bit & 7) & 1 == 1

    def add(self, number: int) -> None:
        page = self._pages.setdefault(number >> _PAGE_BITS, bytearray(1 << (_PAGE_BITS - 3)))
        bit = number & _PAGE_MASK
        page[bit >> 3] |= 1 << (bit & 7)


class FirstImages:
    """`last_id` is where the copy is (None: at its beginning), `max_id` where it will end."""

    def __init__(self, max_id: int, last_id: int | None, delivered: Iterable[int] = ()) -> None:
        self.max_id = max_id
        self.last_id = last_id
        self._delivered = IdSet(delivered)
        self._new: list[int] = []

    def created(self, event_id: int) -> None:
        """The stream told an event that the snapshot does not have."""
        if self._ahead(event_id) and event_id not in self._delivered:
            self._add(event_id)

    def is_due(self, event_id: int) -> bool:
        """Whether an update or delete of this event has to tell its `before` first; from then on it is told."""
        if self._ahead(event_id) and event_id not in self._delivered:
            self._add(event_id)
            return True
        return False

    def passes_over(self, event_id: int) -> bool:
        """Whether the copy leaves this event out."""
        return event_id in self._delivered

    def take_new(self) -> list[int]:
        """Ids added since the last call: they belong into the transaction of the records that added them."""
        new, self._new = self._new, []
        return new

    def _ahead(self, event_id: int) -> bool:
        return event_id <= self.max_id and (self.last_id is None or event_id > self.last_id)

    def _add(self, event_id: int) -> None:
        self._delivered.add(event_id)
        self._new.append(event_id)

"""Every version of every content, kept small: 100,000 contents are 34 MB and not 70.

A version is packed to one bytes object (its dozen Python objects are 0.7 kB, packed they are 0.15) and unpacked when
an event asks for its content. Some stay unpacked, since most events are of few contents: those that are asked for
first, among which the popular ones are. They are chosen anew only now and then: to drop one for each that is unpacked
costs more than unpacking (0.3 us an event where all contents are asked for alike).
"""

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from engagement_stream.model.position import Position

_UNPACKED_CONTENTS: Final = 2_000
_PASSED_OVER_EACH: Final = 20
"""So many look-ups of others, for each that stays unpacked, until these are chosen anew: popularity changes."""
_BY_POSITION: Final = attrgetter("position")


class Version(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A content from `position` on, until its next version."""

    position: Position
    exists: bool
    """False: deleted."""
    created: bool = False
    """It did not exist before (as against: an older version may be lost to compaction)."""
    slug: str | None = None
    title: str | None = None
    content_type: str | None = None
    length_seconds: int | None = None
    publish_ts: str | None = None
    problem: tuple[str, str] | None = None
    """Why an event that joins it cannot be stored (reason, detail)."""


_Packed = bytes | Version
_encode_into = msgspec.msgpack.Encoder().encode_into
_decode = msgspec.msgpack.Decoder(Version).decode


class Versions(Mapping[str, Sequence[Version]]):
    """Content id -> its versions, oldest first; never an empty sequence."""

    def __init__(self, stay_unpacked: int = _UNPACKED_CONTENTS) -> None:
        self._stay_unpacked = stay_unpacked
        self._packed: dict[str, _Packed | list[_Packed]] = {}
        self._unpacked: dict[str, Sequence[Version]] = {}
        self._passed_over = 0
        """Look-ups, since those were chosen, of others."""

    def __getitem__(self, content_id: str) -> Sequence[Version]:
        found = self.get(content_id)
        if found is None:
            raise KeyError(content_id)
        return found  # type: ignore[no-any-return]

    def get(self, content_id: str, default: Any = None) -> Any:
        """Asked for each event: one look-up where it is unpacked."""
        found = self._unpacked.get(content_id)
        if found is None:
            packed = self._packed.get(content_id)
            if packed is None:
                return default
            found = [_decode(packed)] if type(packed) is bytes else [_unpack(each) for each in _listed(packed)]
            if len(self._unpacked) < self._stay_unpacked:
                self._unpacked[content_id] = found
            else:
                self._passed_over += 1
                if self._passed_over >= _PASSED_OVER_EACH * self._stay_unpacked:
                    self._unpacked.clear()
                    self._passed_over = 0
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def newest(self, content_id: str) -> Version:
        return _unpack(_listed(self._packed[content_id])[-1])

    def insert(self, content_id: str, version: Version) -> None:
        """At its position; a repetition (at-least-once capture) takes the place of the same version."""
        self._unpacked.pop(content_id, None)
        if content_id not in self._packed:
            self._packed[content_id] = _pack(version)
            return
        known = self._packed[content_id] = _listed(self._packed[content_id])
        if _unpack(known[-1]).position < version.position:
            known.append(_pack(version))
        else:
            kept = [old for old in map(_unpack, known) if old.position != version.position]
            insort(kept, version, key=_BY_POSITION)
            self._packed[content_id] = [_pack(each) for each in kept]


def _listed(packed: _Packed | list[_Packed]) -> list[_Packed]:
    return packed if isinstance(packed, list) else [packed]


def _pack(version: Version) -> _Packed:
    buffer = bytearray()
    try:
        _encode_into(version, buffer)
    except (OverflowError, UnicodeEncodeError):  # a number or a text that no database holds: somebody else's record
        return version
    return bytes(buffer)  # made anew in its own size: what `encode` returns keeps the place of its longer buffer


def _unpack(packed: _Packed) -> Version:
    return _decode(packed) if isinstance(packed, bytes) else packed

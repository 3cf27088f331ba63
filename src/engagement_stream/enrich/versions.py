"""Every version of every content, kept small: 100,000 contents are 30 MB and not 90.

A version is packed to one bytes object (its dozen Python objects are 0.7 kB, packed they are 0.15) and unpacked when
an event asks for its content. What was asked for lately stays unpacked: most events are of few contents.
"""

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from engagement_stream.model.position import Position

_UNPACKED_CONTENTS: Final = 5_000
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
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Version).decode


class Versions(Mapping[str, Sequence[Version]]):
    """Content id -> its versions, oldest first; never an empty sequence."""

    def __init__(self) -> None:
        self._packed: dict[str, _Packed | list[_Packed]] = {}
        self._unpacked: dict[str, Sequence[Version]] = {}

    def __getitem__(self, content_id: str) -> Sequence[Version]:
        found = self.get(content_id)
        if found is None:
            raise KeyError(content_id)
        return found  # type: ignore[no-any-return]

    def get(self, content_id: str, default: Any = None) -> Any:
        """Asked for each event: one look-up where it was asked for lately."""
        found = self._unpacked.get(content_id)
        if found is None:
            packed = self._packed.get(content_id)
            if packed is None:
                return default
            found = [_decode(packed)] if type(packed) is bytes else [_unpack(each) for each in _listed(packed)]
            if len(self._unpacked) >= _UNPACKED_CONTENTS:
                self._unpacked.clear()
            self._unpacked[content_id] = found
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
    try:
        return _encode(version)
    except (OverflowError, UnicodeEncodeError):  # a number or a text that no database holds: somebody else's record
        return version


def _unpack(packed: _Packed) -> Version:
    return _decode(packed) if isinstance(packed, bytes) else packed

"""From a slice's bytes to typed events: what cannot be read becomes a dead letter, never an exception."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.model.engagement import is_watermark
from engagement_stream.sinks.base import Slice

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    """`events[i]` is the record at `offsets[i]`, read out of `values[i]`; watermarks are in none of the lists."""

    offsets: list[int]
    values: list[bytes]
    events: list[T]
    letters: list[DeadLetter]


def decode(piece: Slice, decoder: Callable[[bytes], T], *, stage: str, topic: str) -> Decoded[T]:
    """Pure; `decoder` raises msgspec.MsgspecError (or ValueError) for what it refuses."""
    offsets, values = piece.offsets, piece.values
    if any(map(is_watermark, values)):
        kept = [(o, v) for o, v in zip(offsets, values, strict=True) if not is_watermark(v)]
        offsets, values = [o for o, _ in kept], [v for _, v in kept]
    try:
        return Decoded(offsets, values, [decoder(value) for value in values], [])
    except (msgspec.MsgspecError, ValueError):
        return _one_by_one(piece.partition, offsets, values, decoder, stage, topic)


def _one_by_one(
    partition: int, offsets: list[int], values: list[bytes], decoder: Callable[[bytes], T], stage: str, topic: str
) -> Decoded[T]:
    good_offsets: list[int] = []
    good_values: list[bytes] = []
    events: list[T] = []
    letters: list[DeadLetter] = []
    for offset, value in zip(offsets, values, strict=True):
        try:
            events.append(decoder(value))
            good_offsets.append(offset)
            good_values.append(value)
        except (msgspec.MsgspecError, ValueError) as error:
            letters.append(
                DeadLetter(stage, topic, partition, offset, None, value, reason="malformed", detail=str(error))
            )
    return Decoded(good_offsets, good_values, events, letters)

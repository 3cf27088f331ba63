"""Frozen batches: what the next request of a partition will hold, written down before it is first sent.

The plan stands in the metadata of the group offset, `{"v":1,"f":1,"end":1100,"history":false}`: the batch is every
record of [offset, end) that is to be sent, in format `f`. What could change between two starts and would change the
bytes (BATCH_SIZE, EXTERNAL_API_SEND_HISTORY, the format) is decided by the plan, not by the settings.
"""

from dataclasses import dataclass

import msgspec

from engagement_stream.errors import Fatal
from engagement_stream.sinks.base import Checkpoint

METADATA_VERSION = 1
BODY_FORMAT = 1
"""Raise it with any change to the bytes of a request's body, and keep the code that makes the older ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One batch: the records of [start, end) (offsets), with or without history, in body format `format`."""

    start: int
    end: int
    history: bool
    format: int = BODY_FORMAT


class _Metadata(msgspec.Struct, frozen=True, gc=False):
    v: int
    f: int
    end: int
    history: bool


_decode = msgspec.json.Decoder(_Metadata).decode


def checkpoint(done: int, plan: Plan | None) -> Checkpoint:
    """Everything below `done` is settled; `plan` is what is sent next."""
    if plan is None:
        return Checkpoint(done)
    assert plan.start == done, "a plan begins where the position is"
    metadata = msgspec.json.encode(_Metadata(METADATA_VERSION, plan.format, plan.end, plan.history))
    return Checkpoint(done, metadata.decode())


def planned(point: Checkpoint) -> Plan | None:
    """The batch that was frozen and is not known to be delivered; None where there is none.

    Metadata of somebody else counts as none: the offset alone is where we go on. Raises Fatal for a plan of a
    newer release, whose bytes this one cannot repeat.
    """
    if not point.metadata:
        return None
    try:
        found = _decode(point.metadata)
    except msgspec.MsgspecError:
        return None
    if found.v != METADATA_VERSION or found.f != BODY_FORMAT:
        raise Fatal(
            f"the batch at offset {point.offset} was frozen by another release (format {found.v}.{found.f}, "
            f"this one writes {METADATA_VERSION}.{BODY_FORMAT}), so it cannot be repeated byte for byte",
            remedy="start the newer release once until the batch is delivered, or reset this group's offset to "
            "itself without metadata: the receiver then sees these events under another Idempotency-Key",
        )
    return Plan(point.offset, found.end, found.history, found.f) if found.end > point.offset else None


def batch_length(sizes: list[int], batch_size: int, max_bytes: int) -> int:
    """How many of the first records go into one batch: by count and by bytes, at least one."""
    total = 0
    for count, size in enumerate(sizes[:batch_size]):
        total += size
        if total > max_bytes and count:
            return count
    return min(len(sizes), batch_size)

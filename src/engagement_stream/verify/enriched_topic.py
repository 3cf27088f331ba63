"""The enriched topic: digests of every event, as a place and as what the sinks have to hold."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from engagement_stream.model.engagement import SNAPSHOT, Engagement, decode_engagement, is_watermark
from engagement_stream.settings import KafkaSettings
from engagement_stream.verify.canon import canonical, content_digest, digest, digests
from engagement_stream.verify.extent import Extent, Offsets, Range
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.letters import Named

Tell = Callable[[int], None]
Look = Callable[[int, int, Engagement], None]
"""(partition, offset, event)."""
_CHUNK = 5_000


def read_enriched(
    kafka: KafkaSettings,
    held: Extent,
    wanted: Mapping[int, Iterable[Range]],
    new: Offsets,
    since_us: int | None,
    ledger: Ledger,
    look: Look,
    tell: Tell,
) -> int:
    """Digest every event in the wanted ranges and show each to `look`; returns how many new ones are malformed."""
    malformed = 0
    named = Named(ledger, held.topic)
    batch: list[tuple[int, int, bytes, Engagement]] = []
    for message in held.messages(kafka, held.ranges(wanted)):
        value, partition, offset = message.value(), message.partition() or 0, message.offset() or 0
        named.look(partition, offset, value)
        if not isinstance(value, bytes) or is_watermark(value):
            continue
        try:
            event = decode_engagement(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            malformed += offset >= new.get(partition, 0)
            continue
        look(partition, offset, event)
        batch.append((partition, offset, value, event))
        if len(batch) >= _CHUNK:
            malformed += _digest(batch, new, since_us, ledger)
            tell(len(batch))
            batch.clear()
    malformed += _digest(batch, new, since_us, ledger)
    tell(len(batch))
    return malformed


def _digest(batch: list[tuple[int, int, bytes, Engagement]], new: Offsets, since_us: int | None, ledger: Ledger) -> int:
    """Into the ledger; returns how many have times that are none (one of them spoils the whole column)."""
    try:
        halves = canonical([event for _, _, _, event in batch])
    except ValueError:
        if len(batch) == 1:
            return 1
        middle = len(batch) // 2
        return sum(_digest(part, new, since_us, ledger) for part in (batch[:middle], batch[middle:]))
    rows = [
        (
            partition,
            offset,
            event.event_id,
            *2 * (offset >= new.get(partition, 0),),
            None if event.content_id is None else digest(event.content_id),
            event.source == SNAPSHOT,
            hash(value),
            *pair,
            content_digest(half[1]),
        )
        for (partition, offset, value, event), pair, half in zip(batch, digests(halves), halves, strict=True)
        if since_us is None or half[0][3] >= since_us  # type: ignore[operator]  # event_ts in microseconds
    ]
    ledger.add("enriched", rows)
    return 0

"""The raw topic: every first image with what it has to be enriched to, and every later change of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from engagement_stream.enrich.catalog import Catalog
from engagement_stream.enrich.storable import CONTENT_UNREADABLE
from engagement_stream.enrich.versions import Version
from engagement_stream.model.change import (
    OP_CREATE,
    OP_READ,
    OP_TRUNCATE,
    EventChange,
    decode_content_change,
    decode_event_change,
)
from engagement_stream.model.engagement import encode_enriched
from engagement_stream.model.position import BEGINNING, Position
from engagement_stream.settings import KafkaSettings
from engagement_stream.verify.canon import digest, text_digest
from engagement_stream.verify.expected import expected
from engagement_stream.verify.extent import Extent, Offsets, Range, extent
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.letters import Named, text

Tell = Callable[[int], None]
_CHUNK = 5_000


@dataclass(slots=True)
class Contents:
    """Every version of every content so far, and how far the content topic was read."""

    catalog: Catalog = field(default_factory=Catalog)
    next_offset: int = 0

    @property
    def versions(self) -> Mapping[str, Sequence[Version]]:
        return self.catalog.versions

    def read(self, kafka: KafkaSettings) -> None:
        """What came since. Call it after the events that need it are known to exist."""
        held = extent(kafka, kafka.content_topic, 1)
        for message in held.messages(kafka, held.ranges({0: [(self.next_offset, held.ends[0])]})):
            value, key = message.value(), message.key()
            if value is None:
                continue
            try:
                self.catalog.add(decode_content_change(value))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self.catalog.add_unreadable(text(key), (CONTENT_UNREADABLE, ""))
        self.next_offset = max(self.next_offset, held.ends[0])


@dataclass(slots=True)
class Raw:
    """What the raw topic told beside its rows, over all rounds."""

    unreadable: int = 0
    """In this round."""
    truncated: Position = BEGINNING
    """Events before this position were truncated later."""
    newest_commit_us: int = 0


def read_raw(
    kafka: KafkaSettings,
    held: Extent,
    wanted: Mapping[int, Iterable[Range]],
    new: Offsets,
    contents: Contents,
    raw: Raw,
    since_us: int | None,
    ledger: Ledger,
    tell: Tell,
) -> None:
    """Digest every first image in the wanted ranges. `new`: where what was not read before begins."""
    named = Named(ledger, held.topic)
    rows: list[tuple[object, ...]] = []
    later: list[tuple[int, str]] = []
    since = None if since_us is None else Since(since_us)
    raw.unreadable = 0
    for message in held.messages(kafka, held.ranges(wanted)):
        value, partition, offset = message.value(), message.partition() or 0, message.offset() or 0
        is_new = offset >= new.get(partition, 0)
        named.look(partition, offset, value)
        if value is None:
            continue
        try:
            change = decode_event_change(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raw.unreadable += is_new
            continue
        row = change.after
        raw.newest_commit_us = max(raw.newest_commit_us, change.source.ts_us)
        if change.op in {OP_CREATE, OP_READ}:
            if row is None or (since and not since.covers(row.event_ts)):
                continue
            key = None if row.content_id is None else digest(row.content_id)
            lsn, index = change.source.position
            own = text_digest(row) if is_new else None
            about = (partition, offset, row.id, is_new, key, change.op == OP_CREATE, lsn, index)
            rows.append((*about, own, _wanted(change, contents.versions)))
            if len(rows) >= _CHUNK:
                ledger.add("raw", rows)
                tell(len(rows))
                rows.clear()
        elif change.op == OP_TRUNCATE:
            raw.truncated = max(raw.truncated, change.source.position)
        elif (gone := change.before or row) is not None:
            later.append((gone.id, change.op))
            if row is not None and row.id != gone.id:  # a changed primary key
                later.append((row.id, change.op))
            if len(later) >= _CHUNK:
                ledger.add("later", later)
                later.clear()
    ledger.add("raw", rows)
    tell(len(rows))
    ledger.add("later", later)


def _wanted(change: EventChange, catalog: Mapping[str, Sequence[Version]]) -> int | None:
    event = expected(change, catalog)
    return None if event is None else hash(encode_enriched(event))


class Since:
    """Whether an event is young enough by its event time, as PostgreSQL would compare."""

    def __init__(self, since_us: int) -> None:
        self._moment = datetime.fromtimestamp(since_us / 1e6, UTC)

    def covers(self, event_ts: str) -> bool:
        try:
            return datetime.fromisoformat(event_ts) >= self._moment
        except (ValueError, TypeError):  # PostgreSQL's infinities, years before 1 and after 9999
            return not event_ts.startswith("-") and not event_ts.endswith("BC")

"""The Kafka topics: raw events with what each has to become, enriched events, dead letters, positions of groups."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Message

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.positions import begins
from engagement_stream.broker.retry import ORIGIN, headers_of, parse_place, replay_of
from engagement_stream.broker.topics import RETRIED_STAGES, high_watermarks
from engagement_stream.dlq.mark import decode_mark
from engagement_stream.enrich.catalog import Catalog, Version
from engagement_stream.enrich.storable import CONTENT_UNREADABLE
from engagement_stream.model.change import (
    OP_CREATE,
    OP_READ,
    OP_TRUNCATE,
    EventChange,
    decode_content_change,
    decode_event_change,
)
from engagement_stream.model.engagement import SNAPSHOT, Engagement, decode_engagement, encode_enriched, is_watermark
from engagement_stream.model.position import BEGINNING, Position
from engagement_stream.settings import KafkaSettings
from engagement_stream.verify.canon import canonical, content_digest, digests, text_digest
from engagement_stream.verify.expected import expected
from engagement_stream.verify.ledger import Ledger

Tell = Callable[[int], None]
_CHUNK = 5_000
_SMALL = {
    "queued.max.messages.kbytes": 8_192,
    "fetch.max.bytes": 4 << 20,
    "fetch.message.max.bytes": 1 << 20,
    "fetch.queue.backoff.ms": 5,  # how long a full queue rests; the default, a second, is longer than emptying it
}
"""What a reader holds ahead: enough to be fast (a larger record still comes), little enough for a small machine."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a topic held when it was looked at: offsets [begin, end) of each partition."""

    topic: str
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def trimmed(self) -> bool:
        """Retention has taken some of it."""
        return any(self.begins)

    def messages(self, kafka: KafkaSettings) -> Iterator[Message]:
        """Every committed record, partition by partition."""
        for partition, (begin, end) in enumerate(zip(self.begins, self.ends, strict=True)):
            yield from read_range(kafka, self.topic, partition, begin, end=end, **_SMALL)


def extent(kafka: KafkaSettings, topic: str, partitions: int) -> Extent:
    """As of now. Raises Retry."""
    return Extent(topic, tuple(begins(kafka, topic, partitions)), tuple(high_watermarks(kafka, topic, partitions)))


def read_catalog(kafka: KafkaSettings) -> Mapping[str, Sequence[Version]]:
    """Every version of every content up to now."""
    catalog = Catalog()
    for message in read_range(kafka, kafka.content_topic, 0, OFFSET_BEGINNING):
        value, key = message.value(), message.key()
        if value is None:
            continue
        try:
            catalog.add(decode_content_change(value))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            content_id = _text(key)
            catalog.add_unreadable(content_id, (CONTENT_UNREADABLE, ""))
    return catalog.versions


@dataclass(slots=True)
class Raw:
    """What the raw topic told beside its rows."""

    unreadable: int = 0
    truncated: Position = BEGINNING
    """Events before this position were truncated later."""
    newest_commit_us: int = 0


def read_raw(kafka: KafkaSettings, held: Extent, since_us: int | None, ledger: Ledger, tell: Tell) -> Raw:
    """Digest every first image and what it has to be enriched to; note every later change."""
    catalog = read_catalog(kafka)
    raw = Raw()
    rows: list[tuple[object, ...]] = []
    later: list[tuple[int, str]] = []
    since = None if since_us is None else _Since(since_us)
    for message in held.messages(kafka):
        value = message.value()
        if value is None:
            continue
        try:
            change = decode_event_change(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raw.unreadable += 1
            continue
        row = change.after
        raw.newest_commit_us = max(raw.newest_commit_us, change.source.ts_us)
        if change.op in {OP_CREATE, OP_READ}:
            if row is None or (since and not since.covers(row.event_ts)):
                continue
            lsn, index = change.source.position
            place = (row.id, message.partition(), message.offset(), lsn, index)
            rows.append((*place, text_digest(row), _wanted(change, catalog)))
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
    ledger.add("raw", rows)
    tell(len(rows))
    ledger.add("later", later)
    return raw


def _wanted(change: EventChange, catalog: Mapping[str, Sequence[Version]]) -> int | None:
    event = expected(change, catalog)
    return None if event is None else hash(encode_enriched(event))


def read_enriched(
    kafka: KafkaSettings,
    held: Extent,
    since_us: int | None,
    ledger: Ledger,
    look: Callable[[int, int, Engagement], None],
    tell: Tell,
) -> int:
    """Digest every event and show each to `look` (partition, offset, event); returns how many are malformed."""
    malformed = 0
    batch: list[tuple[int, int, bytes, Engagement]] = []
    for message in held.messages(kafka):
        value = message.value()
        if not isinstance(value, bytes) or is_watermark(value):
            continue
        try:
            event = decode_engagement(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            malformed += 1
            continue
        partition, offset = message.partition() or 0, message.offset() or 0
        look(partition, offset, event)
        batch.append((partition, offset, value, event))
        if len(batch) >= _CHUNK:
            _digest(batch, since_us, ledger)
            tell(len(batch))
            batch.clear()
    _digest(batch, since_us, ledger)
    tell(len(batch))
    return malformed


def _digest(batch: list[tuple[int, int, bytes, Engagement]], since_us: int | None, ledger: Ledger) -> None:
    halves = canonical([event for _, _, _, event in batch])
    rows = [
        (event.event_id, partition, offset, event.source == SNAPSHOT, hash(value), *pair, content_digest(half[1]))
        for (partition, offset, value, event), pair, half in zip(batch, digests(halves), halves, strict=True)
        if since_us is None or half[0][3] >= since_us  # type: ignore[operator]  # event_ts in microseconds
    ]
    ledger.add("enriched", rows)


def read_letters(kafka: KafkaSettings, ledger: Ledger) -> None:
    """Every dead letter once, by its name; which of them were sent back, and where their replays lie."""
    rows: list[tuple[object, ...]] = []
    for message in extent(kafka, kafka.dlq_topic, kafka.partitions).messages(kafka):
        name, value = message.key(), message.value()
        parts = _text(name).rsplit("/", 2)
        stage, _, topic = parts[0].partition("/")
        if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
            continue  # not one of ours
        event_id = _event_id(value if isinstance(value, bytes) else b"")
        first = parse_place(headers_of(message).get(ORIGIN, "")) or (topic, int(parts[1]), int(parts[2]))
        rows.append((_text(name), stage, *first, event_id, 0))
        if len(rows) >= _CHUNK:
            ledger.add("letter", rows)
            rows.clear()
    ledger.add("letter", rows)
    # After the letters, and the replays last: a mark and its replay are one transaction.
    for message in read_range(kafka, kafka.dlq_state_topic, 0, OFFSET_BEGINNING):
        if _state(message.value() or b"") == "replayed":
            ledger.run("update letter set replayed = 1 where name = ?", _text(message.key()))
    for stage in RETRIED_STAGES:
        rows = []
        for message in extent(kafka, kafka.retry_topic(stage), kafka.partitions).messages(kafka):
            replay = replay_of(message)
            if replay is not None and (of := parse_place(replay.origin)) is not None:
                rows.append((stage, *of, message.partition() or 0, message.offset() or 0))
        ledger.add("replay", rows)


def read_redis_replays(kafka: KafkaSettings, look: Callable[[int, int, Engagement], None]) -> tuple[int, ...]:
    """Show every replay to Redis to `look` (partition, offset, event); what is no event failed again.

    Returns where each partition of them begins.
    """
    held = extent(kafka, kafka.retry_topic("redis"), kafka.partitions)
    for message in held.messages(kafka):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            look(message.partition() or 0, message.offset() or 0, decode_engagement(message.value() or b""))
    return held.begins


def _state(value: bytes) -> str:
    try:
        return decode_mark(value).state
    except msgspec.MsgspecError:
        return ""


def _text(key: str | bytes | None) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key or "")


class _Row(msgspec.Struct, gc=False):
    id: int | None = None


class _AnyEvent(msgspec.Struct, gc=False):
    event_id: int | None = None
    after: _Row | None = None


_decode_any = msgspec.json.Decoder(_AnyEvent).decode


def _event_id(value: bytes) -> int | None:
    """The event that a letter is about, where its bytes tell it."""
    try:
        found = _decode_any(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found.event_id if found.after is None else found.after.id


class _Since:
    """Whether an event is young enough by its event time, as PostgreSQL would compare."""

    def __init__(self, since_us: int) -> None:
        self._moment = datetime.fromtimestamp(since_us / 1e6, UTC)

    def covers(self, event_ts: str) -> bool:
        try:
            return datetime.fromisoformat(event_ts) >= self._moment
        except (ValueError, TypeError):  # PostgreSQL's infinities, years before 1 and after 9999
            return not event_ts.startswith("-") and not event_ts.endswith("BC")

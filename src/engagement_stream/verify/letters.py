"""The dead-letter topic: every letter once, by its name, and the records that the letters name."""

import contextlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Message

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.retry import ORIGIN, headers_of, parse_place, replay_of
from engagement_stream.broker.topics import RETRIED_STAGES
from engagement_stream.dlq.mark import decode_mark
from engagement_stream.model.engagement import Engagement, decode_engagement
from engagement_stream.settings import KafkaSettings
from engagement_stream.verify.compare import Comparison
from engagement_stream.verify.extent import Extent, Offsets, Range, extent
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.report import Place

_CHUNK = 5_000
_NEAR = 20_000
"""Records between two that are wanted are read along: a new reader for each would cost more."""
_REPLAYED_NOW = """
select distinct r.part, r.off from replay r
  join passed p on p.stage = ?1 || '-retry' and p.part = r.here and r.at >= p.low and r.at < p.high
 where r.stage = ?1 and r.topic = ?2 order by r.part, r.off
"""
# A letter whose record lies in what was read of its topic, but is another one or is not there.
_DIFFERS = """
select letter.name
  from letter join named on named.topic = letter.topic and named.part = letter.part and named.off = letter.off
 where letter.open and letter.bytes is not named.bytes
"""
_NOWHERE = """
select letter.name from letter where letter.open and letter.topic = ? and letter.part = ? and letter.off >= ?
"""

_CLOSE_NOWHERE = "update letter set open = 0 where open and topic = ? and part = ? and off >= ?"


class _Row(msgspec.Struct, gc=False):
    id: int | None = None


class _AnyEvent(msgspec.Struct, gc=False):
    event_id: int | None = None
    after: _Row | None = None


_decode_any = msgspec.json.Decoder(_AnyEvent).decode


@dataclass(slots=True)
class LettersRead:
    """How far the dead letters, the marks on them and the replays of them were read."""

    letters: Offsets = field(default_factory=dict)
    marks: int = OFFSET_BEGINNING
    replays: dict[str, Offsets] = field(default_factory=dict)


def read_letters(kafka: KafkaSettings, start: LettersRead, ledger: Ledger) -> LettersRead:
    """What came since: each letter once, by its name, which of them were sent back, and where their replays lie.

    How far the marks go is asked first, so that each finds its letter; the replays are read last, since a mark and its
    replay are one transaction.
    """
    end = LettersRead(marks=extent(kafka, kafka.dlq_state_topic, 1).ends[0])
    rows: list[tuple[object, ...]] = []
    held = extent(kafka, kafka.dlq_topic, kafka.partitions)
    for message in _since(kafka, held, start.letters):
        name, value = message.key(), message.value()
        parts = text(name).rsplit("/", 2)
        stage, _, topic = parts[0].partition("/")
        if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
            continue  # not one of ours
        event_id = _event_id(value if isinstance(value, bytes) else b"")
        first = parse_place(headers_of(message).get(ORIGIN, "")) or (topic, int(parts[1]), int(parts[2]))
        rows.append((text(name), stage, *first, event_id, hash(value), 1, 0))
        if len(rows) >= _CHUNK:
            ledger.add("letter", rows)
            rows.clear()
    ledger.add("letter", rows)
    end.letters = dict(enumerate(held.ends))
    for message in read_range(kafka, kafka.dlq_state_topic, 0, start.marks, end=end.marks):
        if _state(message.value() or b"") == "replayed":
            ledger.run("update letter set replayed = 1 where name = ?", text(message.key()))
    for stage in RETRIED_STAGES:
        held = extent(kafka, kafka.retry_topic(stage), kafka.partitions)
        rows = []
        for message in _since(kafka, held, start.replays.get(stage, {})):
            replay = replay_of(message)
            if replay is not None and (of := parse_place(replay.origin)) is not None:
                rows.append((stage, message.partition() or 0, message.offset() or 0, *of))
        ledger.add("replay", rows)
        end.replays[stage] = dict(enumerate(held.ends))
    return end


def replayed_ranges(ledger: Ledger, stage: str, topic: str) -> Iterator[tuple[int, Range]]:
    """(partition, offsets) of records whose replays the stage has come past in this round, near ones together."""
    first: tuple[int, int] | None = None
    last = 0
    for part, off in ledger.rows(_REPLAYED_NOW, stage, topic):
        if first is not None and (part != first[0] or off - last > _NEAR):
            yield first[0], (first[1], last + 1)
            first = None
        first, last = first or (part, off), off
    if first is not None:
        yield first[0], (first[1], last + 1)


def read_redis_replays(
    kafka: KafkaSettings, wanted: Mapping[int, Range], look: Callable[[int, int, Engagement], None]
) -> tuple[int, ...]:
    """Show these replays to Redis to `look` (partition, offset, event); what is no event failed again.

    Returns where each partition of them begins.
    """
    held = extent(kafka, kafka.retry_topic("redis"), kafka.partitions)
    for message in held.messages(kafka, held.ranges({p: [part] for p, part in wanted.items()})):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            look(message.partition() or 0, message.offset() or 0, decode_engagement(message.value() or b""))
    return held.begins


def _since(kafka: KafkaSettings, held: Extent, start: Offsets) -> Iterator[Message]:
    wanted = {partition: [(start.get(partition, 0), end)] for partition, end in enumerate(held.ends)}
    return held.messages(kafka, held.ranges(wanted))


def _state(value: bytes) -> str:
    try:
        return decode_mark(value).state
    except msgspec.MsgspecError:
        return ""


class Named:
    """Notes, while a topic is read, the records that letters name: eight bytes a letter in memory."""

    def __init__(self, ledger: Ledger, topic: str) -> None:
        self._ledger, self._topic = ledger, topic
        self._offsets: dict[int, array[int]] = {}
        query = "select distinct part, off from letter where topic = ? and open order by part, off"
        for part, off in ledger.rows(query, topic):
            self._offsets.setdefault(part, array("q")).append(off)

    def look(self, partition: int, offset: int, value: str | bytes | None) -> None:
        """Show it every record."""
        offsets = self._offsets.get(partition)
        if offsets is not None and (at := bisect_left(offsets, offset)) < len(offsets) and offsets[at] == offset:
            self._ledger.add("named", [(self._topic, partition, offset, hash(value))])


def compare_letters(comparison: Comparison, ledger: Ledger, topics: list[Extent]) -> Place:
    """The line of the dead-letter queue: a letter has to be the very record that it names."""
    place = Place("dead letters", rows=ledger.value("select count(*) from letter where open"))
    comparison.found(place, "wrong", _names(ledger, _DIFFERS), "its value is not that of the record it names")
    for held in topics:  # looked at after the letters: a record behind their ends never was
        for partition, end in enumerate(held.ends):
            nowhere = _names(ledger, _NOWHERE, held.topic, partition, end)
            comparison.found(place, "wrong", nowhere, "there is no such record")
            ledger.run(_CLOSE_NOWHERE, held.topic, partition, end)
    return place


def _names(ledger: Ledger, query: str, *values: object) -> Iterator[str]:
    return (str(row[0]) for row in ledger.rows(query, *values))


def text(key: str | bytes | None) -> str:
    """Of a record's key."""
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key or "")


def _event_id(value: bytes) -> int | None:
    """The event that a letter is about, where its bytes tell it."""
    try:
        found = _decode_any(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found.event_id if found.after is None else found.after.id

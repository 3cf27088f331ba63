"""A batch of raw records -> what has to be written: pure, so that a replay of the same batch writes the same bytes.

Two steps, because between them the catalog has to be read as far as the batch needs it: `read` decodes,
`translate` joins and encodes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

import msgspec
from confluent_kafka import Message

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.broker.retry import replay_of
from engagement_stream.broker.topics import DLQ_MAX_BYTES, ENRICHED_MAX_BYTES
from engagement_stream.enrich.rules import enrich, watermark
from engagement_stream.enrich.storable import DEFECT, MALFORMED, TOO_LARGE, UNKNOWN_OP, Rejected
from engagement_stream.enrich.versions import Version
from engagement_stream.model.canary import canary_sent_us
from engagement_stream.model.change import (
    OP_CREATE,
    OP_DELETE,
    OP_MESSAGE,
    OP_READ,
    OP_TRUNCATE,
    OP_UPDATE,
    WATERMARK_PREFIX,
    EventChange,
    decode_event_change,
)
from engagement_stream.model.engagement import encode_enriched
from engagement_stream.model.position import BEGINNING, Position

STAGE = "enrich"
_LARGEST_BYTES = ENRICHED_MAX_BYTES - 65_536  # room for what frames a record in its batch
_LARGEST_LETTER_BYTES = DLQ_MAX_BYTES - 65_536
_ROWS = frozenset({OP_CREATE, OP_READ})
_LATER = frozenset({OP_UPDATE, OP_DELETE, OP_TRUNCATE})


class Read:
    """Decoded records, in order. `ends`: partition -> offset after its last record here."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.changes: list[EventChange] = []
        self.refused: list[tuple[Message, Rejected]] = []
        self.ends: dict[int, int] = {}
        self.needs: Position = BEGINNING
        """How far the catalog has to be known."""

    def pieces(self, size: int) -> "Iterator[Read]":
        """The same in parts of at most so many records; what was refused is in the first."""
        for at in range(0, max(len(self.messages), 1), size):
            piece = Read()
            piece.messages, piece.changes = self.messages[at : at + size], self.changes[at : at + size]
            piece.refused = [] if at else self.refused
            yield piece


class Output:
    """What one transaction writes, and what is counted once it is durable."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes, bytes | None]] = []
        """(partition, value, key) for the enriched topic."""
        self.letters: list[DeadLetter] = []
        self.live_commit_ts_us: list[int] = []
        self.changed_later: Counter[str] = Counter()
        self.marks = 0
        """Watermarks among the records."""
        self.canaries: list[tuple[int, int, int]] = []
        """(partition, offset it was read at, time it was sent) of those that are canaries."""


def read(messages: Sequence[Message], into: Read) -> None:
    """Decode records (no error events among them); what cannot be decoded is refused. Tombstones say nothing."""
    decode, needs = decode_event_change, into.needs
    kept, changes, ends = into.messages, into.changes, into.ends
    for message in messages:
        value = message.value()
        ends[message.partition()] = message.offset() + 1  # type: ignore[index, operator]  # only None on error events
        if value is None:
            continue
        try:
            change = decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            into.refused.append((message, Rejected(MALFORMED, _without_payload(error))))
            continue
        kept.append(message)
        changes.append(change)
        if change.source.catalog > needs:  # noqa: PLR1730 - a comparison costs a third of max()
            needs = change.source.catalog
    into.needs = needs


def translate(batch: Read, catalog: Mapping[str, Sequence[Version]]) -> Output:
    """Everything the batch becomes; the catalog must cover `batch.needs`."""
    output = Output()
    records, live = output.records, output.live_commit_ts_us
    for message, change in zip(batch.messages, batch.changes, strict=True):
        op = change.op
        try:
            if op in _ROWS:
                value = encode_enriched(enrich(change, catalog))
            elif op == OP_MESSAGE:
                if change.message is not None and change.message.prefix != WATERMARK_PREFIX:
                    continue  # somebody else's message
                mark = watermark(change)
                value = encode_enriched(mark)
            elif op in _LATER:
                output.changed_later[op] += 1
                continue
            else:
                raise Rejected(UNKNOWN_OP, f"op {op[:20]!r}")  # noqa: TRY301 - one way out for all refusals
            key = message.key()
            if len(value) > _LARGEST_BYTES or (key is not None and len(value) + len(key) > _LARGEST_BYTES):
                raise Rejected(TOO_LARGE, f"the enriched record has {len(value)} bytes")  # noqa: TRY301 - as above
        except Rejected as refusal:
            output.letters.append(_letter(message, refusal))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop every record behind this one
            output.letters.append(_letter(message, Rejected(DEFECT, type(error).__name__)))
        else:
            records.append((message.partition(), value, key))  # type: ignore[arg-type]  # only None on error events
            if op == OP_CREATE:
                live.append(change.source.ts_us)
            elif op == OP_MESSAGE:
                output.marks += 1
                if (sent_us := canary_sent_us(mark.watermark)) is not None:
                    output.canaries.append((message.partition() or 0, message.offset() or 0, sent_us))
    output.letters += [_letter(message, refusal) for message, refusal in batch.refused]
    return output


def _letter(message: Message, refusal: Rejected) -> DeadLetter:
    key, value, detail = _bytes(message.key()), _bytes(message.value()), str(refusal)
    if len(value or b"") + 2 * len(key or b"") > _LARGEST_LETTER_BYTES:
        # Only a foreign writer's compressed batch can hold one; the raw topic still has it.
        detail = f"{detail}; {len(value or b'')} bytes, sha256 {sha256(value or b'').hexdigest()}, left where they are"
        key, value = None, None
    return DeadLetter(
        stage=STAGE,
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=key,
        value=value,
        reason=refusal.reason,
        detail=detail,
        replay=replay_of(message),
    )


def _bytes(part: str | bytes | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part


def _without_payload(error: Exception) -> str:
    """What msgspec says names types and places, never values; a UnicodeDecodeError would show the payload."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start}"
    return str(error) or type(error).__name__

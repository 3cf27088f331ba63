"""Reading the queue: letters and what became of them, brought up to date whenever somebody asks. Changes nothing."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Message

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.retry import AGAIN, ORIGIN, headers_of, place
from engagement_stream.broker.topics import high_watermarks
from engagement_stream.dlq.index import Counts, Found, Index
from engagement_stream.dlq.letter import Filter, Letter
from engagement_stream.dlq.mark import Mark, decode_mark
from engagement_stream.settings import KafkaSettings

_CHUNK = 5_000
_GAP = 5_000
"""Records passed over rather than reading anew behind them."""
_SMALL = {
    "queued.max.messages.kbytes": 8_192,
    "fetch.max.bytes": 8 << 20,
    "fetch.message.max.bytes": 1 << 20,
    "fetch.queue.backoff.ms": 5,
}
"""What a reader holds ahead; a larger record still comes."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Letters by stage, reason and state; when the oldest open one came."""

    counts: Counts
    oldest_open: datetime | None

    def total(self, state: str) -> int:
        return sum(count for (_, _, s), count in self.counts.items() if s == state)


class Queue:
    """Thread-safe. Every question is answered as of the last `follow`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._following = threading.Lock()
        self._next: dict[tuple[str, int], int] = {}
        self._summary: Summary | None = None
        self.index = Index()

    def close(self) -> None:
        self.index.close()

    def follow(self) -> None:
        """Take in what is new, past the present end of both topics. Raises Retry, Fatal."""
        with self._following:
            kafka = self._kafka
            # Letters first: then every mark finds its letter.
            ends = high_watermarks(kafka, kafka.dlq_topic, kafka.partitions)
            if any(end < self._next.get((kafka.dlq_topic, part), 0) for part, end in enumerate(ends)):
                self._next.clear()
                self.index.clear()
            for part, end in enumerate(ends):
                self._read_letters(part, end)
            (end,) = high_watermarks(kafka, kafka.dlq_state_topic, 1)
            self._read_marks(end)

    def summary(self) -> Summary:
        """Counted once for each change."""
        found = self._summary
        if found is None:
            oldest_ms = self.index.oldest_open_ms()
            oldest = None if oldest_ms is None else datetime.fromtimestamp(oldest_ms / 1000, UTC)
            found = self._summary = Summary(self.index.counts(), oldest)
        return found

    def page(self, wanted: Filter, *, before: tuple[int, str] | None = None, limit: int = 50) -> list[Letter]:
        """Newest first."""
        return self.index.newest_first(wanted, before=before, limit=limit)

    def find(self, name: str) -> Letter | None:
        return next(iter(self.index.by_name([name])), None)

    def records(self, letters: Sequence[Letter]) -> Iterator[tuple[Letter, Message]]:
        """The letters' records in the queue, payload and all, in the order they lie."""
        for part, of_part in groupby(
            sorted(letters, key=lambda found: (found.part, found.off)), lambda found: found.part
        ):
            for near in _near(list(of_part)):
                wanted = {letter.off: letter for letter in near}
                for message in self._range(self._kafka.dlq_topic, part, near[0].off, near[-1].off + 1):
                    if (letter := wanted.get(message.offset() or 0)) is not None:
                        yield letter, message

    def marked(self, names: Sequence[str], mark: Mark) -> None:
        """These were marked just now, which the next `follow` would find too."""
        self.index.mark((name, mark) for name in names)
        self._summary = None

    def _read_letters(self, part: int, end: int) -> None:
        found: list[Found] = []
        for message in self._news(self._kafka.dlq_topic, part, end):
            if (letter := _letter(message)) is not None:
                found.append(letter)
            if len(found) >= _CHUNK:
                self._add(found)
                found = []
        self._add(found)
        self._next[self._kafka.dlq_topic, part] = end

    def _add(self, found: list[Found]) -> None:
        if found:
            self.index.add(found)
            self._summary = None

    def _read_marks(self, end: int) -> None:
        marks: list[tuple[str, Mark]] = []
        for message in self._news(self._kafka.dlq_state_topic, 0, end):
            try:
                marks.append((_text(message.key()), decode_mark(message.value() or b"")))
            except msgspec.MsgspecError:
                continue  # not one of ours
            if len(marks) >= _CHUNK:
                self.index.mark(marks)
                marks = []
        if marks:
            self.index.mark(marks)
            self._summary = None
        self._next[self._kafka.dlq_state_topic, 0] = end

    def _news(self, topic: str, part: int, end: int) -> Iterator[Message]:
        start = self._next.get((topic, part), OFFSET_BEGINNING)
        return self._range(topic, part, start, end) if end > max(start, 0) else iter(())

    def _range(self, topic: str, part: int, start: int, end: int) -> Iterator[Message]:
        return read_range(self._kafka, topic, part, start, end=end, **_SMALL)


def _letter(message: Message) -> Found | None:
    """None for a record that is no letter of ours."""
    headers, name = headers_of(message), _text(message.key())
    stage, _, rest = name.partition("/")
    parts = rest.rsplit("/", 2)
    if len(parts) != 3 or not parts[1].lstrip("-").isdecimal() or not parts[2].isdecimal():
        return None
    topic, partition, offset = parts[0], int(parts[1]), int(parts[2])
    again = headers.get(AGAIN, "")
    return (
        name,
        stage,
        topic,
        partition,
        offset,
        headers.get("reason", "unknown"),
        message.timestamp()[1],
        message.partition() or 0,
        message.offset() or 0,
        len(message.value() or b""),
        int(again) if again.isdecimal() else 0,
        headers.get(ORIGIN) or place(topic, partition, offset),
    )


def _near(letters: list[Letter]) -> Iterator[list[Letter]]:
    """Cut where reading on would pass over many records."""
    run: list[Letter] = []
    for letter in letters:
        if run and letter.off - run[-1].off > _GAP:
            yield run
            run = []
        run.append(letter)
    if run:
        yield run


def _text(key: str | bytes | None) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else key or ""

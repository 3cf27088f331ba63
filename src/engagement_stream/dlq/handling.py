"""Replaying and discarding: a replay and its mark are one Kafka transaction, so a letter is sent back once.

There is one transactional.id for all handling. Who begins takes it over, which ends and fences whoever had it, and
only then reads what has been marked: two who handle at once are one after the other, and the first is told so. What is
chosen is fixed at the beginning: a replay that fails again is a new letter, and is left for a person.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from confluent_kafka import Message

from engagement_stream.broker.retry import Replay
from engagement_stream.broker.transaction import TransactionalOutbox
from engagement_stream.crashpoint import crash_point
from engagement_stream.dlq.letter import Filter, Letter, not_replayable
from engagement_stream.dlq.mark import Mark, encode_mark
from engagement_stream.dlq.positions import Positions
from engagement_stream.dlq.queue import Queue
from engagement_stream.errors import EngagementError, Fenced, Retry, TransactionLost
from engagement_stream.settings import KafkaSettings

_PAGE = 1_000
_MAX_BYTES = 16 << 20
"""Payload in one transaction."""
_ATTEMPTS = 5
_EXAMPLES = 20

Action = Literal["replayed", "discarded"]
Tell = Callable[[int, int], None]
"""(letters seen, letters in all)."""


@dataclass(slots=True)
class Outcome:
    """What became of the chosen letters. `refused`: why -> how many; `examples`: (id, why)."""

    done: int = 0
    handled_before: int = 0
    unknown: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    examples: list[tuple[str, str]] = field(default_factory=list)
    left: int = 0
    """Letters that fit and were beyond the limit."""

    def refuse(self, letter: Letter, why: str) -> None:
        self.refused[why] = self.refused.get(why, 0) + 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append((letter.name, why))


class TakenOver(EngagementError):
    """Somebody else began to handle letters; `outcome` is what was done until then."""

    def __init__(self, outcome: Outcome, action: Action) -> None:
        super().__init__(
            f"somebody else began to handle dead letters, so this stopped after {outcome.done:,} were {action}; "
            "nothing was done twice. Look at the queue, and go on with the same command"
        )
        self.outcome = outcome


class Handling:
    """One at a time in this process; `queue` is brought up to date by each operation."""

    def __init__(self, kafka: KafkaSettings, queue: Queue) -> None:
        self._kafka, self._queue = kafka, queue
        self._lock = threading.Lock()

    def replay(
        self, wanted: Sequence[str] | Filter, by: str, *, limit: int | None = None, tell: Tell | None = None
    ) -> Outcome:
        """Send open letters (names, or what fits) back to their stages. Raises Retry, TakenOver."""
        return self._handle("replayed", wanted, by, limit, tell)

    def discard(
        self, wanted: Sequence[str] | Filter, by: str, *, limit: int | None = None, tell: Tell | None = None
    ) -> Outcome:
        """Mark open letters as done with; they stay readable. Raises Retry, TakenOver."""
        return self._handle("discarded", wanted, by, limit, tell)

    def _handle(
        self, action: Action, wanted: Sequence[str] | Filter, by: str, limit: int | None, tell: Tell | None
    ) -> Outcome:
        with self._lock:
            outbox = TransactionalOutbox(self._kafka, f"{self._kafka.prefix}-dlq")
            try:
                outbox.renew()
                self._queue.follow()
                return _Operation(self._kafka, self._queue, outbox, action, by).run(wanted, limit, tell)
            finally:
                outbox.close()


class _Operation:
    def __init__(
        self, kafka: KafkaSettings, queue: Queue, outbox: TransactionalOutbox, action: Action, by: str
    ) -> None:
        self._kafka, self._queue, self._outbox = kafka, queue, outbox
        self._action, self._by = action, by
        self._id = uuid.uuid4().hex
        self._positions = Positions(kafka)
        self._outcome = Outcome()

    def run(self, wanted: Sequence[str] | Filter, limit: int | None, tell: Tell | None) -> Outcome:
        seen = 0
        total, pages = self._chosen(wanted, limit)
        for page in pages:
            self._do(page)
            seen += len(page)
            if tell is not None:
                tell(seen, total)
        return self._outcome

    def _chosen(self, wanted: Sequence[str] | Filter, limit: int | None) -> tuple[int, Iterator[list[Letter]]]:
        if isinstance(wanted, Filter):
            newest = self._queue.index.newest()
            total = self._queue.index.count(wanted, up_to=newest)
            count = total if limit is None else min(limit, total)
            self._outcome.left = total - count
            return count, self._pages(wanted, newest, count)
        names = list(dict.fromkeys(wanted))
        return len(names), self._named(names)

    def _pages(self, wanted: Filter, newest: int, count: int) -> Iterator[list[Letter]]:
        after = 0
        while count > 0:
            page = self._queue.index.in_order(wanted, after=after, up_to=newest, limit=min(_PAGE, count))
            if not page:
                return
            after, count = page[-1].seq, count - len(page)
            yield page

    def _named(self, names: list[str]) -> Iterator[list[Letter]]:
        for first in range(0, len(names), _PAGE):
            asked = names[first : first + _PAGE]
            found = self._queue.index.by_name(asked)
            self._outcome.unknown += sorted(set(asked) - {letter.name for letter in found})
            yield found

    def _do(self, page: list[Letter]) -> None:
        fit = []
        for letter in page:
            if letter.state != "open":
                self._outcome.handled_before += 1
            elif self._action == "replayed" and (why := not_replayable(letter) or self._positions.behind(letter)):
                self._outcome.refuse(letter, why)
            else:
                fit.append(letter)
        if self._action == "discarded":
            self._transaction([(letter, None) for letter in fit])
            return
        chunk: list[tuple[Letter, Message | None]] = []
        size = 0
        for letter, message in self._queue.records(fit):
            chunk.append((letter, message))
            size += letter.size
            if size >= _MAX_BYTES:
                self._transaction(chunk)
                chunk, size = [], 0
        self._transaction(chunk)

    def _transaction(self, chunk: list[tuple[Letter, Message | None]]) -> None:
        """All of the chunk, or nothing; when that is not known, the marks tell."""
        names = [letter.name for letter, _ in chunk]
        for attempt in range(_ATTEMPTS):
            if not chunk:
                return
            try:
                self._once(chunk)
            except TransactionLost as error:
                if isinstance(error, Fenced) or "_FATAL" in str(error):
                    raise TakenOver(self._counted(names), self._action) from error
                time.sleep(0.2 * attempt)
                self._outbox.renew()
                self._queue.follow()
                if self._queue.index.handled_by(self._id, names):
                    break
            else:
                self._outcome.done += len(chunk)
                return
        else:
            raise Retry(f"Kafka does not take transactions now; {self._outcome.done} letters were {self._action}")
        self._outcome.done += len(chunk)

    def _counted(self, names: list[str]) -> Outcome:
        """Whether the last transaction took effect before somebody took over."""
        self._queue.follow()
        self._outcome.done += self._queue.index.handled_by(self._id, names)
        return self._outcome

    def _once(self, chunk: list[tuple[Letter, Message | None]]) -> None:
        mark = Mark(self._action, int(time.time() * 1000), self._by, self._id)
        encoded = encode_mark(mark)
        crash_point("dlq.before_begin")
        self._outbox.begin()
        for letter, message in chunk:
            if message is not None:
                replay = Replay(letter.name, letter.origin, letter.again + 1)
                self._outbox.produce(
                    self._kafka.retry_topic(letter.stage),
                    message.value(),
                    _key(message),
                    letter.partition,
                    replay.headers(),
                )
            self._outbox.produce(self._kafka.dlq_state_topic, encoded, letter.name.encode(), 0)
        crash_point("dlq.after_produce")
        self._outbox.commit()
        crash_point("dlq.after_commit")
        self._queue.marked([letter.name for letter, _ in chunk], mark)


def _key(message: Message) -> bytes | None:
    """The failed record's own key, which travels in a header."""
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return next((value for name, value in pairs if name == "key" and value), None)

"""What is on its way to the endpoint from one partition; pure bookkeeping.

A lane's life: records are offered, the first of them become a plan, the plan is committed, sent, and settled; the
position moves to its end. A refused plan is cut in half until the record that is refused stands alone.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import islice

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.model.engagement import SNAPSHOT
from engagement_stream.sinks.base import Checkpoint, Slice
from engagement_stream.sinks.decode import decode
from engagement_stream.sinks.http.plan import Plan, batch_length, checkpoint
from engagement_stream.sinks.http.request import ENVELOPE_BYTES, HttpEvent, decode_event

STAGE = "http"
Record = tuple[int, bytes, HttpEvent]
"""Offset, the enriched bytes, what they say."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How plans are made: at most `batch_size` events and about `max_bytes`, with or without history."""

    batch_size: int
    max_bytes: int
    history: bool


class Lane:
    """One partition."""

    def __init__(self, topic: str, partition: int, committed: Checkpoint, plan: Plan | None) -> None:
        self.partition = partition
        self.position = committed.offset
        """Everything below is settled (delivered, dead-lettered or not to be sent), though not yet committed."""
        self.committed = committed
        self.plan = plan
        self.batch: list[Record] = []
        """The plan's records that are sent."""
        self.letters: list[DeadLetter] = []
        """To be written before the position is committed."""
        self._topic = topic
        self._end = committed.offset
        self._records: list[Record] = []
        """Offered and not settled, in order; those below `_first` are."""
        self._offsets: list[int] = []
        self._first = 0
        self._malformed: list[DeadLetter] = []
        self._suspect_end = 0
        """One record of [position, _suspect_end) is known to be refused."""

    def offer(self, piece: Slice) -> None:
        """Everything of the partition from its durable position on; replaces what was offered before."""
        rest = piece.after(self.position)
        self._end = max(rest.end, self.position)
        decoded = decode(rest, decode_event, stage=STAGE, topic=self._topic)
        self._malformed = decoded.letters
        self._records = list(zip(decoded.offsets, decoded.values, decoded.events, strict=True))
        self._offsets, self._first = decoded.offsets, 0
        if self.plan is not None:
            self._fill(self.plan)

    def prepare(self, limits: Limits | None) -> None:
        """Make the next plan unless there is one; with nothing to send the position moves to the end.

        Without limits no plan is made: only what was frozen goes out.
        """
        if self.plan is None and limits is not None:
            self._make_plan(limits)
        if self.plan is not None and not self.batch:
            self._advance(self.plan.end)

    def desired(self) -> Checkpoint:
        """What ought to be committed now."""
        return checkpoint(self.position, self.plan)

    def batch_bytes(self) -> int:
        """About the length of the request's body."""
        return sum(_sizes(self.batch))

    def settle(self) -> list[Record]:
        """The plan is delivered; returns what was sent with it."""
        assert self.plan is not None
        sent = self.batch
        self._advance(self.plan.end)
        return sent

    def halve(self, *, suspect: bool) -> None:
        """Plan only the first half; `suspect`: a record of the whole is known to be refused."""
        assert self.plan is not None
        assert len(self.batch) > 1, "one record cannot be halved"
        if suspect:
            self._suspect_end = self.plan.end
        middle = self.batch[len(self.batch) // 2 - 1][0] + 1
        self.plan = Plan(self.plan.start, middle, self.plan.history, self.plan.format)
        self._fill(self.plan)

    def refuse(self, reason: str, detail: str) -> None:
        """The plan's only record will never be taken."""
        assert self.plan is not None
        ((offset, value, event),) = self.batch
        key = (event.content_id or str(event.event_id)).encode()
        self.letters.append(DeadLetter(STAGE, self._topic, self.partition, offset, key, value, reason, detail))
        self._suspect_end = 0
        self._advance(self.plan.end)

    def _make_plan(self, limits: Limits) -> None:
        count = limits.batch_size
        if self._suspect_end > self.position:
            # The refused record is among the suspects: asking for all of them again would only repeat the refusal.
            suspects = len(self._sendable(limits.history, None, self._suspect_end))
            count = max(suspects // 2, 1) if suspects else count
        sendable = self._sendable(limits.history, count, None)
        if not sendable:
            return self._advance(self._end)
        self.batch = sendable[: batch_length(_sizes(sendable), count, limits.max_bytes)]
        self.plan = Plan(self.position, self.batch[-1][0] + 1, limits.history)
        return None

    def _sendable(self, history: bool, count: int | None, end: int | None) -> list[Record]:
        """The next `count` unsettled records that are to be sent, or those below `end`."""
        last = len(self._records) if end is None else bisect_left(self._offsets, end)
        rest = islice(self._records, self._first, last)
        return list(islice((r for r in rest if history or r[2].source != SNAPSHOT), count))

    def _fill(self, plan: Plan) -> None:
        self.batch = self._sendable(plan.history, None, plan.end)

    def _advance(self, position: int) -> None:
        self.position = position
        self.plan, self.batch = None, []
        self._first = bisect_left(self._offsets, position)
        if self._malformed:
            self.letters += [letter for letter in self._malformed if letter.offset < position]
            self._malformed = [letter for letter in self._malformed if letter.offset >= position]


def _sizes(records: list[Record]) -> list[int]:
    return [len(value) + ENVELOPE_BYTES for _, value, _ in records]

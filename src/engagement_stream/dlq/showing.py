"""One letter whole: its payload, the detail of its refusal, and whether it can be sent back."""

from dataclasses import dataclass

from engagement_stream.broker.retry import headers_of
from engagement_stream.dlq.letter import Letter, not_replayable
from engagement_stream.dlq.queue import Queue


@dataclass(frozen=True, slots=True)
class Content:
    """`value` is the failed record's own bytes; personal data may be in it, and in `detail`."""

    value: bytes
    detail: str
    not_replayable: str


def read_content(queue: Queue, letter: Letter) -> Content:
    """Raises Retry, Fatal."""
    for _, message in queue.records([letter]):
        value = message.value()
        return Content(value or b"", headers_of(message).get("detail", ""), not_replayable(letter))
    return Content(b"", "the record is no longer in the queue", "not replayable: the record is no longer in the queue.")

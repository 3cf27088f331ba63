"""How far each stage has come, by what its group has committed.

A sink writes a letter before its position moves past the record. Until it has moved, a restart of the sink may try the
record once more and deliver it: a replay at that moment would be a second delivery.
"""

from engagement_stream.broker.positions import committed
from engagement_stream.broker.retry import replays_of
from engagement_stream.dlq.letter import Letter
from engagement_stream.settings import KafkaSettings


class Positions:
    """Asked once a (stage, topic); make a new one for each operation."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._known: dict[tuple[str, str], dict[int, int | None]] = {}

    def behind(self, letter: Letter) -> str:
        """Why a letter may not be replayed yet; empty when its stage is past it. Raises Retry."""
        if letter.stage == "enrich" or not self._kafka.exactly_once:
            return ""  # its letters and its position are one transaction
        asked = letter.stage, letter.topic
        if asked not in self._known:
            stage, topic = asked
            group = replays_of(stage) if topic == self._kafka.retry_topic(stage) else stage
            self._known[asked] = committed(self._kafka, group, topic)
        if (self._known[asked].get(letter.partition) or 0) > letter.offset:
            return ""
        return f"not yet: stage {letter.stage} has not committed a position past this record; it does within seconds."

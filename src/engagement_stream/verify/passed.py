"""What each stage has come past since the last round, in the topic it reads: now it has to be in the place behind."""

from collections.abc import Collection

from engagement_stream.broker.positions import committed
from engagement_stream.broker.retry import replays_of
from engagement_stream.settings import KafkaSettings
from engagement_stream.verify.extent import Extent, Offsets, Range
from engagement_stream.verify.letters import replayed_ranges
from engagement_stream.verify.state import State


class Passed:
    """`note` a stage before the place behind it is read; `wanted` then tells what to read once more."""

    def __init__(self, kafka: KafkaSettings, state: State) -> None:
        self._kafka, self._state = kafka, state
        self._ranges: dict[str, dict[int, Range]] = {}

    def is_first(self, stage: str) -> bool:
        """Whether the place behind the stage was never read."""
        return stage not in self._state.followed

    def note(self, stage: str) -> dict[int, Range]:
        """In its topic, and in that of the dead letters that are sent back to it."""
        kafka = self._kafka
        topic = kafka.events_topic if stage == "enrich" else kafka.enriched_topic
        for group, of in ((stage, topic), (replays_of(stage), kafka.retry_topic(stage))):
            before = self._state.followed.get(group, {})
            ranges = {p: (before.get(p, 0), offset or 0) for p, offset in committed(kafka, group, of).items()}
            self._state.ledger.put("passed", [(group, p, low, high) for p, (low, high) in ranges.items()])
            self._ranges[group] = ranges
        return self._ranges[stage]

    def wanted(self, start: Offsets, held: Extent, *stages: str) -> dict[int, list[Range]]:
        """What is new, what these stages have come past, and what was sent back to them."""
        wanted: dict[int, list[Range]] = {p: [(start.get(p, 0), end)] for p, end in enumerate(held.ends)}
        for stage in stages:
            for partition, part in self._ranges.get(stage, {}).items():
                wanted[partition].append(part)
            for partition, part in replayed_ranges(self._state.ledger, stage, held.topic):
                wanted[partition].append(part)
        return wanted

    def settle(self, stages: Collection[str]) -> None:
        """The round is over, and the places behind these stages were read: the next one goes on from there.

        What another stage has come past is asked of its place when that can be read again.
        """
        for stage in stages:
            for group in (stage, replays_of(stage)):
                self._state.followed[group] = {part: max(range_) for part, range_ in self._ranges[group].items()}

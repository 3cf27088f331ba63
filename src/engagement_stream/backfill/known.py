"""What a run knows beside the rows: the content's history, and which events live has dead-lettered before any sink."""

from dataclasses import dataclass

import pyarrow as pa

from engagement_stream.backfill.content_topic import read_history
from engagement_stream.backfill.history import History, table_history
from engagement_stream.backfill.rules import Enriched, enrich_columns, without
from engagement_stream.backfill.snapshot import Snapshot
from engagement_stream.capture.letters import read_letters
from engagement_stream.settings import KafkaSettings

DEAD_LETTERED = "dead-lettered by enrich"
_ENRICH = frozenset({"enrich"})


@dataclass(frozen=True, slots=True)
class Known:
    """`dead_letters`: ids of events that a replay will bring into every sink."""

    history: History
    dead_letters: pa.Array

    def enrich(self, batch: pa.RecordBatch) -> Enriched:
        """The rows of a batch of `source.COLUMNS`, as live would have them."""
        enriched = enrich_columns(batch, self.history)
        rows, left_out = without(enriched.rows, self.dead_letters, DEAD_LETTERED)
        return Enriched(rows, enriched.left_out + left_out, enriched.by_event_time)


def known_of_live(kafka: KafkaSettings) -> Known:
    """As the topics have it now. Raises Retry."""
    letters = read_letters(kafka, 0, _ENRICH)
    return Known(read_history(kafka), pa.array(sorted(letters.event_ids), pa.int64()))


def known_of_table(snapshot: Snapshot) -> Known:
    """Where there is no live path: the content table, and no letters."""
    return Known(table_history(snapshot.contents()), pa.array([], pa.int64()))

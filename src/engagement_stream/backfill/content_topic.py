"""The content topic, whole, as a history."""

import msgspec
from confluent_kafka import OFFSET_BEGINNING

from engagement_stream.backfill.history import History, history
from engagement_stream.broker.consumer import read_range
from engagement_stream.enrich.catalog import Catalog
from engagement_stream.enrich.storable import CONTENT_UNREADABLE
from engagement_stream.model.change import decode_content_change
from engagement_stream.model.position import Position
from engagement_stream.settings import KafkaSettings


def read_history(kafka: KafkaSettings) -> History:
    """Every version that the topic holds now. Raises Retry."""
    catalog, commit_us = Catalog(), dict[Position, int]()
    for message in read_range(kafka, kafka.content_topic, 0, OFFSET_BEGINNING):
        value, key = message.value(), message.key()
        if value is None:
            continue
        try:
            change = decode_content_change(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            content_id = (key or b"").decode(errors="replace")
            catalog.add_unreadable(content_id, (CONTENT_UNREADABLE, ""))
            continue
        commit_us[change.source.position] = change.source.ts_us
        catalog.add(change)
    return history(catalog.versions, commit_us)

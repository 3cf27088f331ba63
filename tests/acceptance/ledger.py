"""Row-by-row comparison of PostgreSQL with every place its events were delivered to."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import msgspec
import psycopg
import redis

from engagement_stream.broker.consumer import read_range
from engagement_stream.model.engagement import Engagement, decode_engagement, is_watermark
from engagement_stream.settings import Settings
from engagement_stream.sinks.bigquery.client import rest_client
from engagement_stream.stack.receiver import ReceiverServer

# What each event should be, computed by PostgreSQL itself in double precision.
# Right while no content row changes: the as-of join is tested where content does change.
_EXPECTED = """
SELECT e.id, e.content_id::text, e.user_id::text, e.event_type, e.event_ts, e.duration_ms, e.device,
       e.raw_payload::text, c.slug, c.title, c.content_type, c.length_seconds, c.publish_ts,
       e.duration_ms / 1000::float8,
       e.duration_ms / 1000::float8 / nullif(c.length_seconds, 0)::float8 * 100
  FROM engagement_events e LEFT JOIN content c ON c.id = e.content_id
"""
_TOTALS = """
SELECT count(*), count(*) FILTER (WHERE event_type = 'play'), count(*) FILTER (WHERE event_type = 'pause'),
       count(*) FILTER (WHERE event_type = 'finish'), count(*) FILTER (WHERE event_type = 'click'),
       count(*) FILTER (WHERE event_type IS NULL), coalesce(sum(duration_ms), 0), count(duration_ms)
  FROM engagement_events
"""
_COUNTERS = ("events", "play", "pause", "finish", "click", "untyped", "ms", "timed")


@dataclass(frozen=True, slots=True)
class Row:
    """One event as it should be everywhere."""

    event_id: int
    content_id: str | None
    user_id: str | None
    event_type: str | None
    event_ts: dt.datetime
    duration_ms: int | None
    device: str | None
    raw_payload: object
    slug: str | None
    title: str | None
    content_type: str | None
    length_seconds: int | None
    publish_ts: dt.datetime | None
    engagement_seconds: float | None
    engagement_pct: float | None


Rows = dict[int, Row]
Found = tuple[Rows, Counter[int]]
"""The rows by event id, and how often each id was found."""
_FIELDS = [field.name for field in fields(Row)]


def in_postgres(settings: Settings) -> Rows:
    """The truth."""
    with psycopg.connect(settings.postgres.database_url.get_secret_value()) as connection:
        return {row[0]: _row(row) for row in connection.execute(_EXPECTED)}


def in_enriched_topic(settings: Settings) -> Found:
    """What a read_committed consumer sees."""
    events: list[Engagement] = []
    for partition in range(settings.kafka.partitions):
        for message in read_range(settings.kafka, settings.kafka.enriched_topic, partition, 0):
            value = message.value() or b""
            if not is_watermark(value):
                events.append(decode_engagement(value))
    return _of_engagements(events)


def in_bigquery(settings: Settings) -> Found:
    """The rows of the table."""
    table = f"`{settings.bigquery.project}.{settings.bigquery.dataset}.engagement_events`"
    columns = ", ".join("TO_JSON_STRING(raw_payload)" if name == "raw_payload" else name for name in _FIELDS)
    found = rest_client(settings.bigquery).query(f"SELECT {columns} FROM {table} WHERE NOT _dlq").result()
    return _counted(_row(tuple(record.values())) for record in found)


def rows_in_bigquery(settings: Settings) -> int:
    """Only how many."""
    table = f"`{settings.bigquery.project}.{settings.bigquery.dataset}.engagement_events`"
    found = list(rest_client(settings.bigquery).query(f"SELECT COUNT(*) FROM {table} WHERE NOT _dlq").result())
    return int(found[0][0])


def at_receiver(receiver: ReceiverServer) -> Found:
    """What the receiver kept after its dedup; the effect, not the number of requests."""
    return _of_engagements([decode_engagement(bytes(event.data)) for event in receiver.events()])


def totals_in_redis(settings: Settings) -> dict[str, int]:
    """The sums over all partitions."""
    client = redis.Redis.from_url(settings.redis.url.get_secret_value(), decode_responses=True)
    sums = dict.fromkeys(_COUNTERS, 0)
    for partition in range(settings.kafka.partitions):
        held = client.hgetall(f"{settings.redis.prefix}:{{{partition}}}:totals")
        for name in _COUNTERS:
            sums[name] += int(held.get(name, 0))
    return sums


def totals_in_postgres(settings: Settings) -> dict[str, int]:
    """The same sums by SQL."""
    with psycopg.connect(settings.postgres.database_url.get_secret_value()) as connection:
        row = connection.execute(_TOTALS).fetchone()
    assert row is not None
    return dict(zip(_COUNTERS, map(int, row), strict=True))


def differences(expected: Rows, found: Found) -> list[str]:
    """Missing, unexpected, doubled and wrong rows, the first of each kind spelled out; empty when all is right."""
    rows, seen = found
    kinds: Mapping[str, list[int]] = {
        "missing": sorted(expected.keys() - rows.keys()),
        "unexpected": sorted(rows.keys() - expected.keys()),
        "doubled": sorted(key for key, count in seen.items() if count != 1),
    }
    report = [f"{len(ids)} {kind}: {ids[:5]}" for kind, ids in kinds.items() if ids]
    wrong = [key for key in sorted(expected.keys() & rows.keys()) if expected[key] != rows[key]]
    if wrong:
        first = wrong[0]
        parts = [
            f"{name} should be {getattr(expected[first], name)!r}, is {getattr(rows[first], name)!r}"
            for name in _FIELDS
            if getattr(expected[first], name) != getattr(rows[first], name)
        ]
        report.append(f"{len(wrong)} wrong, e.g. {first}: {'; '.join(parts)}")
    return report


def _of_engagements(events: Iterable[Engagement]) -> Found:
    return _counted(_row(tuple(map(msgspec.structs.asdict(event).get, _FIELDS))) for event in events)


def _counted(rows: Iterable[Row]) -> Found:
    by_id: Rows = {}
    seen: Counter[int] = Counter()
    for row in rows:
        by_id[row.event_id] = row
        seen[row.event_id] += 1
    return by_id, seen


def _row(values: tuple[object, ...]) -> Row:
    named = dict(zip(_FIELDS, values, strict=True))
    for name in ("event_ts", "publish_ts"):
        moment = named[name]
        named[name] = dt.datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    payload = named["raw_payload"]
    named["raw_payload"] = json.loads(payload) if isinstance(payload, str) else payload
    return Row(**named)  # type: ignore[arg-type]  # the fields come in the order of Row

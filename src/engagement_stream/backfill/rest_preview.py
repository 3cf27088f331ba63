"""What a backfill into the REST system would send, by looking alone: nothing is sent, written or made.

Nobody can ask the receiver what it has. So every event of the days counts as missing, but for those that an earlier
run of the same days has settled before it was interrupted.
"""

from dataclasses import dataclass
from itertools import islice

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from engagement_stream.backfill.dates import DayRange
from engagement_stream.backfill.known import known_of_table
from engagement_stream.backfill.lane_progress import LaneProgress
from engagement_stream.backfill.plan import Day, Sums
from engagement_stream.backfill.progress import Report
from engagement_stream.backfill.rest import lane_key
from engagement_stream.backfill.rest_run import outgoing, range_name
from engagement_stream.backfill.snapshot import Snapshot, take_snapshot
from engagement_stream.backfill.source import Reader
from engagement_stream.errors import ConfigurationError, Retry
from engagement_stream.settings import Settings
from engagement_stream.sinks.http.request import ENVELOPE_BYTES

_SAMPLE = 1_000
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class RestPreview:
    """`days`: what PostgreSQL has against what is settled. `event_bytes`: of a body, about; out of a sample."""

    days: list[Day]
    event_bytes: int
    after: int | None
    """An interrupted run of these days has settled everything up to this id."""


def preview_rest(settings: Settings, wanted: DayRange) -> RestPreview:
    """Raises ConfigurationError, Retry."""
    if settings.http.url is None:
        raise ConfigurationError("EXTERNAL_API_URL is empty: there is nowhere to send to.")
    after = _settled(settings, lane_key(settings.http.url.get_secret_value(), range_name(wanted)))
    with take_snapshot(settings.postgres) as snapshot:
        found = snapshot.days(wanted)
        left = found if after is None else snapshot.days(wanted, after_id=after)
        days = [Day(day, sums, Sums(sums.rows - left.get(day, Sums()).rows)) for day, sums in sorted(found.items())]
        return RestPreview(days, _event_bytes(settings, snapshot, wanted, after), after)


def _settled(settings: Settings, key: str) -> int | None:
    kafka = settings.kafka
    try:
        topics = AdminClient({**kafka.client_config()}).list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        raise Retry(f"Kafka does not tell its topics: {error.args[0].str()}") from error
    return LaneProgress(kafka, key).read().after if kafka.backfill_topic in topics else None


def _event_bytes(settings: Settings, snapshot: Snapshot, wanted: DayRange, after: int | None) -> int:
    with Reader(
        settings.postgres, snapshot.name, version=snapshot.version, commit_times=snapshot.commit_times
    ) as reader:
        rows = reader.ordered_rows(wanted.since, wanted.until, after, limit=_SAMPLE)
        sizes = [
            len(data) + ENVELOPE_BYTES
            for data, _ in islice(outgoing(rows, known_of_table(snapshot), Report()), _SAMPLE)
        ]
    return sum(sizes) // len(sizes) if sizes else 0

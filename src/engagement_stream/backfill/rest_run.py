"""One backfill into the REST system: a snapshot, the content's history as of then, every event once more in order."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa

from engagement_stream.backfill.dates import DayRange
from engagement_stream.backfill.known import Known, known_of_live, known_of_table
from engagement_stream.backfill.lane_progress import LaneProgress
from engagement_stream.backfill.pace import Pace
from engagement_stream.backfill.payloads import settle_payloads
from engagement_stream.backfill.plan import Day, Sums
from engagement_stream.backfill.progress import Note, Planned, Report, Tell
from engagement_stream.backfill.rest import Outgoing, RestLane
from engagement_stream.backfill.rules import SOURCE
from engagement_stream.backfill.run import Options
from engagement_stream.backfill.snapshot import Snapshot, take_snapshot
from engagement_stream.backfill.source import Reader
from engagement_stream.backfill.watermark import WatermarkPass
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.model.engagement import FORMAT_VERSION, Engagement, encode_enriched
from engagement_stream.model.position import BEGINNING
from engagement_stream.settings import Settings
from engagement_stream.sinks.bigquery.exclusive import exclusive
from engagement_stream.sinks.http.request import decode_event

_SLICE_ROWS = 1_000


def backfill_rest(settings: Settings, wanted: DayRange, options: Options, tell: Tell, stop: threading.Event) -> Report:
    """Raises ConfigurationError, Retry, Fatal; run again with the same days it goes on with the batch under way."""
    began_s = time.monotonic()
    report = Report()
    pace = Pace(None if options.without_live else settings.kafka, options.rows_per_s, stop.is_set, sink="http")
    lane = RestLane(settings.http, settings.kafka.enriched_topic, range_name(wanted), report, tell, stop.is_set, pace)
    waiting = lambda holder: tell(Note(f"waiting: {holder} is at it"))  # noqa: E731 - one line of it
    try:
        who = f"backfill of {wanted} to http"
        with exclusive(settings.postgres, settings.bigquery, lane.key, who, waiting, stopped=stop.is_set) as held:
            if held is not None:
                _run(settings, wanted, options, lane, report, tell, stop)
    finally:
        lane.close()
    report.rested_s = pace.rested_s
    report.stopped = stop.is_set()
    report.seconds = time.monotonic() - began_s
    return report


def range_name(wanted: DayRange) -> str:
    """A lane's own name for these days."""
    return f"{wanted.first}-{wanted.last}"


def _run(
    settings: Settings,
    wanted: DayRange,
    options: Options,
    lane: RestLane,
    report: Report,
    tell: Tell,
    stop: threading.Event,
) -> None:
    ensure_topics(settings.kafka)
    progress = LaneProgress(settings.kafka, lane.key)
    state = progress.read()
    if state.after is not None:
        tell(Note(f"going on after event {state.after}"))
    with take_snapshot(settings.postgres) as snapshot:
        found = snapshot.days(wanted)
        report.days = len(found)
        total = sum(day.rows for day in found.values())
        tell(Planned([Day(day, sums, Sums()) for day, sums in sorted(found.items())], total))
        known = _known(settings, snapshot, options, tell, stop)
        if known is None:
            return
        with Reader(
            settings.postgres, snapshot.name, version=snapshot.version, commit_times=snapshot.commit_times
        ) as reader:
            batches = reader.ordered_rows(wanted.since, wanted.until, state.after)
            lane.send(outgoing(batches, known, report), progress, state)


def _known(settings: Settings, snapshot: Snapshot, options: Options, tell: Tell, stop: threading.Event) -> Known | None:
    """The content topic holds all that the snapshot sees once the mark has come through enrich."""
    if options.without_live:
        return known_of_table(snapshot)
    mark = WatermarkPass(
        settings.postgres,
        settings.kafka,
        f"backfill to http {snapshot.name}",
        lambda text: tell(Note(text)),
        stop.is_set,
        options.patience_s,
        sink=None,
    )
    return known_of_live(settings.kafka) if mark.run() else None


def outgoing(batches: Iterator[pa.RecordBatch], known: Known, report: Report) -> Iterator[Outgoing]:
    """The events as they are sent; `report` learns what is left out."""
    for batch in batches:
        enriched = known.enrich(batch)
        rows, unstorable = settle_payloads(enriched.rows, json_type=False)
        report.leave_out(enriched.left_out + unstorable)
        report.by_event_time += enriched.by_event_time
        for start in range(0, rows.num_rows, _SLICE_ROWS):
            for row in rows.slice(start, _SLICE_ROWS).to_pylist():
                data = encode_enriched(_engagement(row))
                yield data, decode_event(data)


def _engagement(row: dict[str, object]) -> Engagement:
    """As live has it, but for its place in the log."""
    moment = row["commit_ts"] or row["event_ts"]
    assert isinstance(moment, datetime)
    named = {name: row[name] for name in Engagement.__struct_fields__ if name in row}
    named |= {
        "v": FORMAT_VERSION,
        "event_ts": _text(row["event_ts"]),
        "publish_ts": _text(row["publish_ts"]),
        "position": BEGINNING,
        "commit_ts_us": int(pa.scalar(moment, pa.timestamp("us", "UTC")).cast(pa.int64()).as_py()),
        "source": SOURCE,
    }
    return Engagement(**named)  # type: ignore[arg-type]  # each column has its field's type


def _text(moment: object) -> str | None:
    """PostgreSQL's own form, as capture writes it: no needless zeros."""
    if not isinstance(moment, datetime):
        return None
    text = moment.replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"

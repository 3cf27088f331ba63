"""The protocols' steps: every call to the outside, the crash points before and after it, and what it makes durable.

A person keeps this table; tests hold it against the source, so that a new call without crash points fails.
"""

from dataclasses import dataclass
from typing import Final

FOREIGN: Final = frozenset(
    {
        # Kafka
        "commit_transaction",
        "send_offsets_to_transaction",
        "init_transactions",
        "begin_transaction",
        "producer.flush",
        "_producer.flush",
        "consumer.commit",
        "_consumer.commit",
        "reader.commit",
        "reader.committed",
        "_consumer.committed",
        "get_watermark_offsets",
        "list_topics",
        "create_topics",
        "delete_topics",
        "list_offsets",
        "describe_consumer_groups",
        # PostgreSQL
        "exec_",
        "send_query",
        "put_copy_data",
        "get_cancel",
        "connection.execute",
        "_connection.execute",
        "cursor.execute",
        "cursor.copy",
        # Redis
        "script_load",
        "client.info",
        "pipe.execute",
        # BigQuery
        "create_dataset",
        "create_table",
        "update_table",
        "get_table",
        "client.query",
        "finalize_write_stream",
        "create_write_stream",
        "append_rows",
        # HTTP
        "_pool.stream",
    }
)
"""Methods that reach another process, by name or by receiver and name. Polling is none: it decides nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call in `where` (file::function) between two crash points.

    `before` is None where the call itself begins with crash points of its own. `reaches` names the places of the
    foreign calls it stands for (file::function), where they are not in `where` itself.
    """

    where: str
    call: str
    before: str | None
    after: str
    what: str
    reaches: tuple[str, ...] = ()


_OUTBOX = "broker/transaction.py::TransactionalOutbox"
_OPEN = "capture/opening.py::open_capture"
_SOURCE = "capture/source.py::Source._rows"
_COPYING = ("capture/copying.py::CopySession._execute", "capture/copying.py::CopySession._row")
_TABLE = "sinks/bigquery/table.py::"
_BIGQUERY = "sinks/bigquery/sink.py::BigQuerySink"
_TAKEOVER = "sinks/bigquery/takeover.py::Takeover"

STEPS: Final = (
    Step(
        "broker/topics.py::_create",
        "admin.create_topics",
        "topics.before_create",
        "topics.after_create",
        "The topics that are missing are made. A start that finds some of them makes the others.",
    ),
    Step(
        f"{_OUTBOX}.renew",
        "producer.init_transactions",
        "transaction.before_init",
        "transaction.after_init",
        "Every older producer of this transactional id is fenced, its open transaction ended.",
    ),
    Step(
        f"{_OUTBOX}.commit",
        "producer.flush",
        "transaction.before_flush",
        "transaction.before_commit",
        "The records are in the brokers' logs; no read_committed reader sees them yet.",
    ),
    Step(
        f"{_OUTBOX}.commit",
        "_send_offsets",
        "transaction.before_offsets",
        "transaction.after_offsets",
        "The consumer's next offsets belong to the transaction.",
        ("broker/transaction.py::_send_offsets.call",),
    ),
    Step(
        f"{_OUTBOX}.commit",
        "producer.commit_transaction",
        "transaction.before_commit",
        "transaction.after_commit",
        "Records and offsets (or progress) are visible together. Not before, and never one without the other.",
    ),
    Step(
        "broker/transaction.py::PlainOutbox.commit",
        "_producer.flush",
        "plain.before_flush",
        "plain.after_flush",
        "At least once: the records are visible, the position is not moved.",
    ),
    Step(
        "broker/transaction.py::PlainOutbox.commit",
        "consumer.commit",
        "plain.after_flush",
        "plain.after_offsets",
        "At least once: the position follows.",
    ),
    Step(
        _OPEN,
        "outbox.renew",
        "capture.before_fence",
        "capture.after_fence",
        "No older capture process can commit any more.",
    ),
    Step(
        _OPEN,
        "source.end_others",
        "capture.after_fence",
        "capture.after_ending_others",
        "The older process's sessions are ended; whatever it still does to the slot fails.",
        (_SOURCE,),
    ),
    Step(
        _OPEN,
        "topic.read",
        "capture.after_ending_others",
        "capture.after_progress",
        "The progress is read, to the end that nobody else can move any more.",
    ),
    Step(
        "capture/opening.py::_create",
        "outbox.commit",
        None,
        "capture.after_creating_record",
        "The record `creating`: from now on a slot of this name is ours to drop.",
    ),
    Step(
        "capture/opening.py::_create",
        "source.drop_slot",
        "capture.after_creating_record",
        "capture.before_slot",
        "A half-made slot of an earlier try is gone.",
        (_SOURCE,),
    ),
    Step(
        "capture/opening.py::_create",
        "session.create_slot",
        "capture.before_slot",
        "capture.after_slot",
        "The slot keeps WAL; its exported snapshot lives as long as this session.",
        ("capture/session.py::ReplicationSession.create_slot",),
    ),
    Step(
        "capture/opening.py::_create",
        "copy_session.import_snapshot",
        "capture.after_slot",
        "capture.after_import",
        "The copying session sees exactly what the slot will not tell.",
        _COPYING,
    ),
    Step(
        _OPEN,
        "_copy_session",
        "capture.after_progress",
        "capture.after_commit_something",
        "A new session goes on with an interrupted first copy.",
        _COPYING,
    ),
    Step(
        "capture/opening.py::_copy_session",
        "copy_session.filter_by",
        None,
        "capture.after_copy_session",
        "Its rows are told apart by the recorded snapshot.",
        _COPYING,
    ),
    Step(
        _OPEN,
        "source.commit_something",
        "capture.after_progress",
        "capture.after_commit_something",
        "A commit of ours in the WAL, so that the stream comes as far as what the copy sees.",
        (_SOURCE,),
    ),
    Step(
        "capture/first_copy.py::copy_content",
        "outgoing.commit",
        None,
        "capture.content_chunk",
        "A part of the contents is committed; the progress still says `creating`, so a crash begins again.",
    ),
    Step(
        "capture/streaming.py::Streaming._copy_content",
        "_out.commit",
        None,
        "capture.after_content",
        "The last contents together with the progress: from here on a crash goes on instead of beginning again.",
    ),
    Step(
        "capture/first_copy.py::EventCopy.put_some",
        "session.start_events",
        "capture.before_copy",
        "capture.after_copy",
        "The events behind the last copied id are asked for.",
        ("capture/copying.py::CopySession._start", *_COPYING),
    ),
    Step(
        "capture/streaming.py::Streaming._start",
        "_session.start",
        "capture.before_start",
        "capture.after_start",
        "START_REPLICATION at our own position; then the slot is checked once more, now that nobody can move it.",
        ("capture/session.py::ReplicationSession.start",),
    ),
    Step(
        "capture/outgoing.py::Outgoing.commit",
        "_outbox.commit",
        "capture.before_commit",
        "capture.after_commit",
        "Rows and progress, in one Kafka transaction.",
    ),
    Step(
        "capture/outgoing.py::Outgoing.ready_for_progress",
        "_outbox.commit",
        None,
        "capture.rows_without_progress",
        "At least once only: the rows first, the progress behind them.",
    ),
    Step(
        "capture/acknowledging.py::Acknowledging.now",
        "_session.send_status",
        "capture.before_acknowledge",
        "capture.after_acknowledge",
        "PostgreSQL may forget its WAL up to a position that is committed in Kafka.",
        ("capture/session.py::ReplicationSession.send_status",),
    ),
    Step(
        "enrich/catalog_reader.py::CatalogReader.open",
        "high_watermarks",
        "enrich.before_catalog",
        "enrich.after_catalog",
        "Every version of every content is known, past the topic's present end.",
        ("broker/topics.py::high_watermarks",),
    ),
    Step(
        "enrich/stage.py::EnrichStage._place",
        "start_positions",
        "enrich.before_positions",
        "enrich.after_positions",
        "The committed offsets, after any pending transaction of a former worker has ended.",
        ("enrich/start.py::start_positions", "enrich/start.py::_begins_at", "enrich/start.py::_write_down"),
    ),
    Step(
        "enrich/stage.py::EnrichStage._catalog_covers",
        "_catalog.wait_for",
        "enrich.before_catalog_wait",
        "enrich.after_catalog_wait",
        "Content is known as far as this batch needs it.",
    ),
    Step(
        "enrich/stage.py::EnrichStage._forward",
        "_outbox.produce_all",
        "enrich.before_begin",
        "enrich.after_produce",
        "The output is on its way, in an open transaction.",
    ),
    Step(
        "enrich/stage.py::EnrichStage._forward",
        "self._commit",
        "enrich.after_produce",
        "enrich.after_commit",
        "Output, dead letters and input offsets, in one Kafka transaction.",
    ),
    Step(
        "enrich/stage.py::EnrichStage._settle",
        "self._commit",
        "enrich.before_settle",
        "enrich.after_settle",
        "While idle the offset moves over the transaction markers behind the last record.",
    ),
    Step(
        "sinks/road.py::KafkaRoad.committed",
        "_consumer.committed",
        "road.before_committed",
        "road.after_committed",
        "A sink's checkpoints are read: offset and metadata.",
    ),
    Step(
        "sinks/road.py::KafkaRoad.commit",
        "_consumer.commit",
        "road.before_commit",
        "road.after_commit",
        "Offset and metadata are moved together; refused when the partitions are another worker's.",
    ),
    Step(
        "sinks/road.py::KafkaRoad._bounds",
        "_consumer.get_watermark_offsets",
        "road.before_bounds",
        "road.after_bounds",
        "What the log still holds.",
    ),
    Step(
        "sinks/road.py::KafkaRoad.dead_letter",
        "_letters.put",
        "road.before_dead_letter",
        "road.after_dead_letter",
        "The letters are durable; the position has not moved past their records yet.",
        ("broker/dead_letter.py::DeadLetters.put",),
    ),
    Step(
        "sinks/redis/sink.py::RedisSink.open",
        "pipe.execute",
        "redis.before_fences",
        "redis.after_fences",
        "The fences are read: they are the position.",
    ),
    Step(
        "sinks/redis/sink.py::RedisSink.open",
        "pipe.execute",
        "redis.after_fences",
        "redis.after_window",
        "Redis knows its partitions and the window's length.",
    ),
    Step(
        "sinks/redis/sink.py::RedisSink._pieces",
        "road.dead_letter",
        "redis.before_dead_letter",
        "redis.after_dead_letter",
        "Unreadable records are dead letters before the script moves the fence past them.",
    ),
    Step(
        "sinks/redis/sink.py::RedisSink._apply",
        "pipe.execute",
        "redis.before_script",
        "redis.after_script",
        "Totals and fence, in one script.",
    ),
    Step(
        f"{_TABLE}ensure_table",
        "client.create_dataset",
        "bigquery.before_dataset",
        "bigquery.after_dataset",
        "The dataset is there.",
    ),
    Step(
        f"{_TABLE}ensure_table",
        "client.create_table",
        "bigquery.after_dataset",
        "bigquery.after_table",
        "The table is there.",
    ),
    Step(
        f"{_TABLE}ensure_table",
        "_add_columns",
        "bigquery.after_table",
        "bigquery.after_columns",
        "An older table has the columns it lacked.",
        (f"{_TABLE}_add_columns",),
    ),
    Step(
        f"{_TABLE}ensure_table",
        "_ensure_view",
        "bigquery.after_table",
        "bigquery.after_views",
        "The views are there.",
        (f"{_TABLE}_ensure_view",),
    ),
    Step(
        f"{_TAKEOVER}._finalize",
        "client.finalize_write_stream",
        "bigquery.before_finalize",
        "bigquery.after_finalize",
        "The former owner's stream takes nothing any more, and says how many rows it has taken.",
    ),
    Step(
        f"{_TAKEOVER}._by_stream",
        "after_rows",
        None,
        "bigquery.after_walk",
        "The records behind the checkpoint are counted off: that is the true position.",
    ),
    Step(
        f"{_TAKEOVER}._last",
        "last_offsets",
        "bigquery.before_look",
        "bigquery.after_look",
        "Where no stream can tell, the table's greatest offset does.",
        (f"{_TABLE}last_offsets",),
    ),
    Step(
        f"{_TAKEOVER}._create_stream",
        "client.create_write_stream",
        "bigquery.before_create_stream",
        "bigquery.after_create_stream",
        "A stream that nobody else knows.",
    ),
    Step(
        f"{_TAKEOVER}.lanes",
        "_road.commit",
        "bigquery.before_first_commit",
        "bigquery.after_first_commit",
        "A successor will find the new stream: only now may anything be appended to it.",
    ),
    Step(
        f"{_BIGQUERY}._dead_letter",
        "_road.dead_letter",
        "bigquery.before_dead_letter",
        "bigquery.after_dead_letter",
        "Letters before their placeholders: nobody looks at a record again whose row is there.",
    ),
    Step(
        f"{_BIGQUERY}._deliver",
        "connection.send",
        "bigquery.before_append",
        "bigquery.after_send",
        "Appends are under way, each at its offset in the stream.",
        ("sinks/bigquery/stream.py::Connection.send",),
    ),
    Step(
        f"{_BIGQUERY}._deliver",
        "self._collect",
        "bigquery.after_send",
        "bigquery.after_append",
        "The answers: the rows are in the table.",
    ),
    Step(
        f"{_BIGQUERY}.write",
        "road.commit",
        "bigquery.before_commit",
        "bigquery.after_commit",
        "The checkpoint follows; it may lag, the stream knows better.",
    ),
    Step(
        "sinks/http/sink.py::_read_again",
        "road.read",
        "http.before_read",
        "http.after_read",
        "The frozen batch's records, out of the log again.",
    ),
    Step(
        "sinks/http/sink.py::HttpSink._commit",
        "_road.dead_letter",
        "http.before_dead_letter",
        "http.after_dead_letter",
        "Refused events are dead letters before the position moves past them.",
    ),
    Step(
        "sinks/http/sink.py::HttpSink._commit",
        "_road.commit",
        "http.before_commit",
        "http.after_commit",
        "What is settled and the plan of what is sent next, in one commit, before the first send.",
    ),
    Step(
        "sinks/http/sink.py::HttpSink._send",
        "_endpoint.post",
        "http.before_send",
        "http.after_answer",
        "The receiver has acted, or not: the same bytes go out again under the same key.",
        ("sinks/http/endpoint.py::Endpoint.post",),
    ),
    Step(
        "generate/writer.py::Writer.write.attempt",
        "cursor.copy",
        "generate.before_copy",
        "generate.before_commit",
        "The block is in an open transaction whose number is known.",
    ),
    Step(
        "generate/writer.py::Writer.write.attempt",
        "connection.execute",
        "generate.before_commit",
        "generate.after_commit",
        "The block is there as a whole; a lost answer is asked for by its number.",
    ),
)

QUESTIONS: Final = {
    "broker/consumer.py::sits_elsewhere": "asked when already fenced; chooses between ending and joining again",
    "broker/topics.py::ensure_topics": "asked at every start; what is missing is made by `_create`",
    "broker/topics.py::_create": "looks until the new topics are visible",
    f"{_OUTBOX}.renew": "`list_topics` connects, the fence is `init_transactions`",
    f"{_OUTBOX}.begin": "no request leaves this process",
    "capture/session.py::ReplicationSession._row": "IDENTIFY_SYSTEM, TIMELINE_HISTORY: compared, not kept",
    "capture/copying.py::CopySession.stop_reading": "gives up an unfinished COPY of our own session",
    "enrich/stage.py::EnrichStage._tell_lag": "a figure",
    "sinks/runner.py::SinkStage._tell_lag": "a figure",
    "sinks/redis/sink.py::RedisSink.open": "`script_load` stands between the points of the fences",
    "sinks/redis/sink.py::RedisSink._check": "stands between the points of the fences",
    "sinks/redis/reader.py::RedisReader.get_recent_events": "reads only",
    "sinks/redis/reader.py::RedisReader.totals": "reads only",
    "sinks/redis/reader.py::RedisReader._ask_once": "reads only",
    "sinks/redis/reader.py::RedisReader._load": "loads scripts that only read",
    "generate/writer.py::Writer.ensure.attempt": "contents by slug: any number of times is as good as once",
    "generate/writer.py::Writer._was_committed": "asks for a transaction's fate",
    "generate/writer.py::_add": "as `ensure`",
}
"""Places (file::function) of foreign calls that need no crash points of their own, and why."""

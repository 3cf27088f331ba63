"""What counts as a call to the outside, and which of them only ask."""

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

QUESTIONS: Final = {
    "broker/membership.py::_members": "asked without partitions or positions; ends, joins or asks again",
    "broker/topics.py::ensure_topics": "asked at every start; what is missing is made by `_create`",
    "broker/topics.py::_create": "looks until the new topics are visible",
    "broker/transaction.py::TransactionalOutbox.renew": "`list_topics` connects, the fence is `init_transactions`",
    "broker/transaction.py::TransactionalOutbox.begin": "no request leaves this process",
    "capture/session.py::ReplicationSession._row": "IDENTIFY_SYSTEM, TIMELINE_HISTORY: compared, not kept",
    "capture/copying.py::CopySession.stop_reading": "gives up an unfinished COPY of our own session",
    "capture/slot_watch.py::SlotWatch.look": "a figure",
    "enrich/telling.py::Telling.lag": "a figure",
    "sinks/lag.py::LagTeller.tell": "a figure",
    "sinks/lag.py::LagTeller.tell_while_waiting": "a figure",
    "sinks/redis/sink.py::RedisSink.open": "`script_load` stands between the points of the fences",
    "sinks/redis/sink.py::RedisSink._check": "stands between the points of the fences",
    "sinks/redis/reader.py::RedisReader._ask_once": "reads only",
    "generate/writer.py::Writer.ensure.attempt": "contents by slug: any number of times is as good as once",
    "generate/writer.py::Writer._was_committed": "asks for a transaction's fate",
    "generate/writer.py::_add": "as `ensure`",
    "broker/positions.py::begins": "reads only",
    "sinks/bigquery/replays.py::_unstorable": "asks which of the staged rows BigQuery does not take",
    "rebuild/source.py::RebuildSource._begin": "a read-only transaction of our own session",
    "rebuild/source.py::RebuildSource._one": "reads only; the lock ends with the session",
    "rebuild/source.py::RebuildSource._copy": "reads only",
    "sinks/bigquery/exclusive.py::Held.check": "asks whether the lock is still ours",
    "sinks/bigquery/exclusive.py::_acquire": "the lock ends with the session",
    "sinks/bigquery/exclusive.py::_holder": "a name to show",
    "backfill/snapshot.py::Snapshot._rows": "reads only",
    "backfill/source.py::Reader._execute": "a read-only transaction of our own session",
    "backfill/source.py::Reader._read": "reads only",
    "backfill/present.py::present": "reads only",
    "backfill/rest_preview.py::_settled": "reads only",
}
"""Places (file::function) of foreign calls that need no crash points of their own, and why."""

"""Replayed dead letters into BigQuery: not by a stream but by a staging table and an insert of what is missing.

A stream counts rows, and the letter's placeholder has been counted; the placeholder stays, hidden, and the row comes
beside it. One batch, [start, end) of a partition of the replays:

1. Load it into a staging table named after it; again, the table is made anew with the same rows.
2. Insert what the table lacks by event id, as the next job of the chain that backfills use too: one insert at a time,
   whoever issued it, and a twin that wakes up is refused.
3. Commit the position end.

Dying anywhere, the next one does it all again and finds nothing missing.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from google.cloud import bigquery

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.observe.log import log
from engagement_stream.settings import BigQuerySettings, PostgresSettings
from engagement_stream.sinks.base import Checkpoint, Gather, Receipt, Road, Slice
from engagement_stream.sinks.bigquery.client import rest_client
from engagement_stream.sinks.bigquery.errors import MENDED_BY_A_PERSON_S, translated
from engagement_stream.sinks.bigquery.replay_batch import ReplayBatch, replay_batch, values_sql
from engagement_stream.sinks.bigquery.rows import PAYLOAD, STAGE
from engagement_stream.sinks.bigquery.table import ensure_table, table_name

_MAX_RECORDS = 5_000
_TIMEOUT_S = 60.0
_LOCK_S = 60.0
_ONCE: Any = None
_INSERT = files(__package__).joinpath("insert_replayed.sql").read_text()


class BigQueryReplays:
    """Implements `sinks.base.Sink`; PostgreSQL holds the lock under which anything is inserted into the table."""

    name = STAGE

    def __init__(self, settings: BigQuerySettings, postgres: PostgresSettings) -> None:
        self._settings, self._postgres = settings, postgres
        self._client: bigquery.Client | None = None
        self._road: Road | None = None

    @property
    def gather(self) -> Gather:
        """A job takes seconds however little it does."""
        return Gather(max_records=_MAX_RECORDS, linger_s=self._settings.interval_s)

    def open(self, partitions: Sequence[int], road: Road) -> Mapping[int, int]:
        """The committed positions; where there is none, the beginning: what is there already is not inserted again."""
        self.close()
        with translated("connecting"):
            self._client = rest_client(self._settings)
        ensure_table(self._client, self._settings)
        self._road = road
        begins = road.begins_at(partitions)
        return {p: begins[p] if point is None else point.offset for p, point in road.committed(partitions).items()}

    def write(self, slices: Sequence[Slice]) -> Receipt:
        """One partition after the other; each is durable by itself."""
        if self._road is None:
            raise Reopen("the BigQuery replays are not open")
        durable: dict[int, int] = {}
        records = 0
        for piece in slices:
            try:
                records += self._deliver(piece)
            except Retry:
                if not durable:
                    raise
                break
            durable[piece.partition] = piece.end
        return Receipt(durable, records)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]  # untyped upstream
        self._client = self._road = None

    def _deliver(self, piece: Slice) -> int:
        assert self._road is not None
        road, inserted = self._road, 0
        if piece.offsets:
            # Read again, with the headers that tell where each event failed first.
            batch = replay_batch(road.topic, piece.partition, road.read(piece.partition, piece.prev, piece.end))
            letters, inserted = self._insert(piece, batch) if batch.rows else ([], 0)
            road.dead_letter([*batch.letters, *letters])
        crash_point("bigquery.before_replay_commit")
        road.commit({piece.partition: Checkpoint(piece.end)})
        crash_point("bigquery.after_replay_commit")
        return inserted

    def _insert(self, piece: Slice, batch: ReplayBatch) -> tuple[list[DeadLetter], int]:
        """Letters of what BigQuery does not take after all, and how many rows are there now. Raises Retry, Reopen."""
        # Here, not above: they are 13 MB (PostgreSQL's client, Parquet) in a process that may never see a replay.
        from engagement_stream.sinks.bigquery.exclusive import INSERT, exclusive
        from engagement_stream.sinks.bigquery.job_chain import JobChain
        from engagement_stream.sinks.bigquery.staging import Staging, parquet

        assert self._client is not None
        client = self._client
        name = f"replay_{batch.digest(table_name(self._settings))}_{piece.partition}_{piece.prev}_{piece.end}"
        staging = Staging(client, self._settings, name)
        table = staging.load(0, parquet(batch.parquet_table()))
        crash_point("bigquery.after_replay_load")
        unstorable = _unstorable(client, table)
        columns, values = values_sql()
        sql = _INSERT.format(table=table_name(self._settings), staging=table, columns=columns, values=values)
        deadline_s = time.monotonic() + _LOCK_S
        with exclusive(
            self._postgres,
            self._settings,
            INSERT,
            "bigquery-replays",
            lambda holder: log().info("waiting to insert replays", holder=holder),
            stopped=lambda: time.monotonic() > deadline_s,
        ) as held:
            if held is None:
                raise Retry("somebody else inserts into the BigQuery table")
            try:
                JobChain(client, self._settings, held.today).run(sql)
            except Fatal as error:
                raise Retry(f"{error}; {error.remedy}", after_s=MENDED_BY_A_PERSON_S) from error
        crash_point("bigquery.after_replay_insert")
        with contextlib.suppress(Retry, Reopen):
            staging.drop([table])
        letters = [
            batch.letter(offset, value, PAYLOAD, "BigQuery does not take raw_payload as JSON")
            for offset, (_, value, event) in zip(batch.offsets, batch.rows, strict=True)
            if event.event_id in unstorable
        ]
        return letters, len(batch.rows) - len(letters)


def _unstorable(client: bigquery.Client, staging: str) -> set[int]:
    """Events whose payload the insert passes over."""
    sql = (
        f"SELECT event_id FROM `{staging}` WHERE raw_payload IS NOT NULL "  # noqa: S608 - names of ours
        "AND SAFE.PARSE_JSON(raw_payload, wide_number_mode => 'round') IS NULL"
    )
    with translated("looking at replays"):
        found = client.query(sql, timeout=_TIMEOUT_S, retry=_ONCE, job_retry=None).result(
            timeout=_TIMEOUT_S, retry=_ONCE, job_retry=None
        )
        return {int(row[0]) for row in found}

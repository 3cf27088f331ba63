"""Replayed dead letters into BigQuery: not by a stream but by a staging table and an insert of what is missing.

A stream counts rows, and the letter's placeholder has been counted; the placeholder stays, hidden, and the row comes
beside it. One batch, [start, end) of a partition of the replays:

1. Commit the plan {end, attempt} at offset start. Whoever comes after us finds it and goes on with the same batch.
2. Load the batch into a staging table of its own name; again, it replaces itself.
3. Run the insert as a job whose name follows from the batch. A twin that wakes up finds the name taken, so the
   same insert never runs twice at once; run again later, it finds nothing missing.
4. Commit the position end.

A job that ended without effect is replaced by one of the next attempt, committed first.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import msgspec
import pyarrow.parquet as pq
from google.api_core import exceptions as foreign
from google.cloud import bigquery

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Reopen, Retry
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.base import Checkpoint, Gather, Receipt, Road, Slice
from engagement_stream.sinks.bigquery.client import rest_client
from engagement_stream.sinks.bigquery.errors import MENDED_BY_A_PERSON_S, translated
from engagement_stream.sinks.bigquery.replay_batch import STAGED_COLUMNS, ReplayBatch, replay_batch, values_sql
from engagement_stream.sinks.bigquery.rows import PAYLOAD, REFUSED, STAGE
from engagement_stream.sinks.bigquery.table import TABLE, ensure_table, table_name

_MAX_RECORDS = 5_000
_TIMEOUT_S = 60.0
_JOB_S = 120.0
_KEPT = timedelta(days=1)
_REFUSED_IN_A_ROW = 20
"""So many single rows refused and none taken between them: it is not the rows that are wrong."""
_ONCE: Any = None
_INSERT = files(__package__).joinpath("insert_replayed.sql").read_text()


class _Metadata(msgspec.Struct, frozen=True):
    end: int
    attempt: int
    v: int = 1


_decode = msgspec.json.Decoder(_Metadata).decode


@dataclass(frozen=True, slots=True)
class _Plan:
    """The replays of [start, end) are inserted by attempt number `attempt`."""

    partition: int
    start: int
    end: int
    attempt: int = 0

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.start, msgspec.json.encode(_Metadata(self.end, self.attempt)).decode())


class _JobEndedError(Exception):
    """The insert has ended and had no effect; `refused`: because of what was to be inserted."""

    def __init__(self, text: str, *, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused


class BigQueryReplays:
    """Implements `sinks.base.Sink`."""

    name = STAGE

    def __init__(self, settings: BigQuerySettings) -> None:
        self._settings = settings
        self._client: bigquery.Client | None = None
        self._road: Road | None = None
        self._plans: dict[int, _Plan] = {}
        self._refused = 0

    @property
    def gather(self) -> Gather:
        """A job takes seconds however little it does."""
        return Gather(max_records=_MAX_RECORDS, linger_s=self._settings.interval_s)

    def open(self, partitions: Sequence[int], road: Road) -> Mapping[int, int]:
        """Where each partition goes on; a batch that was begun is ended by the first write."""
        self.close()
        with translated("connecting"):
            client = rest_client(self._settings)
        self._client, self._road = client, road
        ensure_table(client, self._settings)
        positions: dict[int, int] = {}
        for partition, point in road.committed(partitions).items():
            positions[partition] = road.begins_at([partition])[partition] if point is None else point.offset
            if point is not None and (plan := _planned(partition, point)) is not None:
                self._plans[partition] = plan
        for plan in list(self._plans.values()):
            positions[plan.partition] = self._carry_out(plan)[0]
        return positions

    def write(self, slices: Sequence[Slice]) -> Receipt:
        """A batch of each partition; what is behind it is offered again."""
        if self._road is None:
            raise Reopen("the BigQuery replays are not open")
        durable: dict[int, int] = {}
        records = 0
        for piece in slices:
            plan = self._plans.get(piece.partition)
            if plan is None:
                plan = _Plan(piece.partition, piece.prev, piece.end)
                if piece.offsets:
                    self._freeze(plan)
            try:
                durable[piece.partition], inserted = self._carry_out(plan)
            except Retry:
                if not durable:
                    raise
                break
            records += inserted
        return Receipt(durable, records)

    def close(self) -> None:
        """Plans stay in Kafka."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]  # untyped upstream
        self._client = self._road = None
        self._plans = {}

    def _freeze(self, plan: _Plan) -> None:
        assert self._road is not None
        crash_point("bigquery.before_replay_plan")
        self._road.commit({plan.partition: plan.checkpoint()})
        crash_point("bigquery.after_replay_plan")
        self._plans[plan.partition] = plan

    def _carry_out(self, plan: _Plan) -> tuple[int, int]:
        """Insert the plan's batch; returns the position after it and how many rows it was about."""
        assert self._road is not None
        road = self._road
        batch = replay_batch(road.topic, plan.partition, road.read(plan.partition, plan.start, plan.end))
        letters = batch.letters
        if batch.rows:
            try:
                letters = [*letters, *self._insert(plan, batch)]
            except _JobEndedError as error:
                if not error.refused:
                    self._freeze(replace(plan, attempt=plan.attempt + 1))
                    raise Retry(f"BigQuery did not insert replays: {error}") from error
                if len(batch.rows) > 1:
                    half = replace(plan, end=batch.offsets[len(batch.rows) // 2], attempt=0)
                    self._freeze(half)
                    return self._carry_out(half)
                letters = [*letters, self._refuse(plan, batch, str(error))]
        road.dead_letter(letters)
        crash_point("bigquery.before_replay_commit")
        road.commit({plan.partition: Checkpoint(plan.end)})
        crash_point("bigquery.after_replay_commit")
        self._plans.pop(plan.partition, None)
        return plan.end, len(batch.rows)

    def _refuse(self, plan: _Plan, batch: ReplayBatch, text: str) -> DeadLetter:
        self._refused += 1
        if self._refused > _REFUSED_IN_A_ROW:
            self._freeze(replace(plan, attempt=plan.attempt + 1))
            raise Retry(
                f"BigQuery refused the last {_REFUSED_IN_A_ROW} replays and took none between them ({text[:300]}): "
                f"check the table {TABLE}",
                after_s=MENDED_BY_A_PERSON_S,
            )
        return batch.letter(batch.offsets[0], batch.rows[0][1], REFUSED, text[:1_000])

    def _insert(self, plan: _Plan, batch: ReplayBatch) -> list[DeadLetter]:
        """Staging, job, and who was passed over. Raises _JobEndedError, Retry, Fatal."""
        assert self._client is not None
        client, digest = self._client, batch.digest(table_name(self._settings))
        name = f"{TABLE}_replay_{plan.partition}_{plan.start}_{plan.end}_{digest}"
        staging = f"{self._settings.project}.{self._settings.dataset}.{name}"
        crash_point("bigquery.before_replay_load")
        with translated("loading replays"):
            self._load(client, staging, batch)
            unstorable = self._unstorable(client, staging)
        crash_point("bigquery.after_replay_load")
        columns, values = values_sql()
        sql = _INSERT.format(table=table_name(self._settings), staging=staging, columns=columns, values=values)
        self._run(client, sql, f"{self._settings.dataset}_{name}_{plan.attempt}")
        crash_point("bigquery.after_replay_insert")
        self._refused = 0
        with contextlib.suppress(Retry, Reopen), translated("dropping a staging table"):
            client.delete_table(staging, not_found_ok=True, timeout=_TIMEOUT_S, retry=_ONCE)
        return [
            batch.letter(offset, value, PAYLOAD, "BigQuery does not take raw_payload as JSON")
            for offset, (_, value, event) in zip(batch.offsets, batch.rows, strict=True)
            if event.event_id in unstorable
        ]

    def _load(self, client: bigquery.Client, staging: str, batch: ReplayBatch) -> None:
        schema = [bigquery.SchemaField(name, kind) for name, kind in STAGED_COLUMNS]
        table = bigquery.Table(staging, schema=schema)
        table.expires = datetime.now(UTC) + _KEPT
        client.create_table(table, exists_ok=True, timeout=_TIMEOUT_S, retry=_ONCE)
        data = io.BytesIO()
        pq.write_table(batch.parquet_table(), data)
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            schema=schema,
        )
        client.load_table_from_file(data, staging, rewind=True, job_config=config, timeout=_TIMEOUT_S).result(
            timeout=_JOB_S
        )

    @staticmethod
    def _unstorable(client: bigquery.Client, staging: str) -> set[int]:
        sql = (
            f"SELECT event_id FROM `{staging}` WHERE raw_payload IS NOT NULL "  # noqa: S608 - names of ours
            "AND SAFE.PARSE_JSON(raw_payload, wide_number_mode => 'round') IS NULL"
        )
        found = client.query(sql, timeout=_TIMEOUT_S, retry=_ONCE, job_retry=None).result(
            timeout=_JOB_S, retry=_ONCE, job_retry=None
        )
        return {int(row[0]) for row in found}

    @staticmethod
    def _run(client: bigquery.Client, sql: str, job_id: str) -> None:
        """The insert, under its name: begun by us or by a predecessor, it has ended well on return."""
        crash_point("bigquery.before_replay_insert")
        with translated("inserting replays"), _ended():
            try:
                job: Any = client.query(sql, job_id=job_id, timeout=_TIMEOUT_S, retry=_ONCE, job_retry=None)
            except foreign.Conflict:
                job = client.get_job(job_id, timeout=_TIMEOUT_S, retry=_ONCE)
            try:
                job.result(timeout=_JOB_S, retry=_ONCE, job_retry=None)
            except foreign.BadRequest:
                raise
            except foreign.GoogleAPICallError as error:
                # A call that failed says nothing about the job; a job that ended with an error does.
                if getattr(job, "state", "") == "DONE" and job.error_result:
                    raise _JobEndedError(str(error), refused=False) from error
                raise


@contextlib.contextmanager
def _ended() -> Iterator[None]:
    try:
        yield
    except foreign.BadRequest as error:
        raise _JobEndedError(str(error), refused=True) from error


def _planned(partition: int, point: Checkpoint) -> _Plan | None:
    """Metadata of somebody else is none."""
    try:
        found = _decode(point.metadata or "null")
    except msgspec.MsgspecError:
        return None
    return _Plan(partition, point.offset, found.end, found.attempt) if found.end > point.offset else None

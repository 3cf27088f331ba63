"""The BigQuery table, by the Storage Read API: one snapshot, columns in Arrow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import pyarrow as pa
from google.api_core import exceptions as foreign
from google.api_core.retry import Retry, if_exception_type
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery.client import rest_client, uses_emulator
from engagement_stream.sinks.bigquery.errors import translated
from engagement_stream.sinks.bigquery.table import TABLE
from engagement_stream.verify.canon import (
    JOINED_FIELDS,
    SOURCE_FIELDS,
    canonical_json,
    content_digest,
    digests,
    plain_zero,
)
from engagement_stream.verify.extent import Range
from engagement_stream.verify.ledger import Ledger

Tell = Callable[[int], None]
BACKFILL = "backfill"
_CHUNK = 10_000
_TIMEOUT_S = 300.0
_EMULATOR_ROWS = 15_000
_PATIENCE_S = 10.0
"""The clients' own is ten minutes, in which no other place would be looked at."""
_BRIEFLY = Retry(if_exception_type(foreign.ServiceUnavailable), initial=0.2, maximum=3.0, timeout=_PATIENCE_S)
_REST_BRIEFLY = DEFAULT_RETRY.with_timeout(_PATIENCE_S)
_COLUMN = {"source": "_source"}
_OWN = [_COLUMN.get(name, name) for name in SOURCE_FIELDS]
_JOINED = [_COLUMN.get(name, name) for name in JOINED_FIELDS]

Halves = tuple[tuple[object, ...], tuple[object, ...]]
Place = tuple[int | None, int | None]
"""Partition and offset of the record that a row was made of; a backfilled one has none."""


class NoTable(Exception):
    """The sink has not made it yet."""


def read_bigquery(
    settings: BigQuerySettings,
    since: str | None,
    ranges: Mapping[int, Range] | None,
    ledger: Ledger,
    tell: Tell,
) -> int:
    """Digest every row that is an event; returns how many are placeholders of dead letters.

    `ranges`: only rows of these records (partition -> offsets), None for the whole table.
    """
    placeholders = 0
    wanted = [f"(event_ts >= TIMESTAMP '{since}' OR _dlq)"] if since else []
    if ranges is not None:
        parts = [
            f"_topic_partition = {p} AND _offset >= {low} AND _offset < {high}" for p, (low, high) in ranges.items()
        ]
        wanted.append(f"({' OR '.join(f'({part})' for part in parts)})")
    for batch in _batches(settings, " AND ".join(wanted)):
        flags = batch.column("_dlq").to_pylist()
        if any(flags):
            placeholders += sum(map(bool, flags))
            batch = batch.filter(pa.array([not flag for flag in flags]))  # noqa: PLW2901 - the rest of it
        ids, parts, offsets = (batch.column(name).to_pylist() for name in ("event_id", "_topic_partition", "_offset"))
        halves = list(_halves(batch))
        rows = [
            (part, offset, event_id, own, *_joined(half[1], joined))
            for event_id, part, offset, half, (own, joined) in zip(
                ids, parts, offsets, halves, digests(halves), strict=True
            )
        ]
        ledger.add("bigquery", rows)
        tell(len(rows))
    return placeholders


def _joined(values: tuple[object, ...], digest: int) -> tuple[int | None, int | None]:
    """(digest of all, digest of the content's part): what this row can be held to.

    A backfilled row has no place in the log and its own commit time; where that time is unknown, its content was
    chosen by event time and may be another.
    """
    *_, commit_ts, source = values
    if source != BACKFILL:
        return digest, None
    return None, None if commit_ts is None else content_digest(values)


def bigquery_rows(settings: BigQuerySettings, ids: Sequence[int]) -> dict[int, list[tuple[Halves, Place]]]:
    """The rows of these events and their records' places, to show what differs."""
    found: dict[int, list[tuple[Halves, Place]]] = {}
    wanted = ",".join(map(str, ids))
    for batch in _batches(settings, f"event_id IN ({wanted})"):
        columns = (batch.column(name).to_pylist() for name in ("event_id", "_topic_partition", "_offset"))
        for event_id, part, offset, half in zip(*columns, _halves(batch), strict=True):
            if event_id in ids:
                found.setdefault(event_id, []).append((half, (part, offset)))
    return found


def _halves(batch: pa.RecordBatch) -> Iterator[Halves]:
    own = zip(*(_column(batch, name) for name in _OWN), strict=True)
    joined = zip(*(_column(batch, name) for name in _JOINED), strict=True)
    return zip(own, joined, strict=True)


def _column(batch: pa.RecordBatch, name: str) -> list[Any]:
    values = batch.column(name)
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    listed: list[Any] = values.to_pylist()
    if name == "raw_payload":
        return [canonical_json(value) for value in listed]
    return [plain_zero(value) for value in listed] if pa.types.is_floating(values.type) else listed


def _batches(settings: BigQuerySettings, restriction: str) -> Iterator[pa.RecordBatch]:
    """Raises NoTable, Retry, Fatal."""
    rest = rest_client(settings)
    try:
        with translated("reading the table"):
            client = _read_client(settings, rest)
            for part in _parts(settings, rest, restriction):
                yield from _rows(client, _session(settings, client, part))
    finally:
        rest.close()  # type: ignore[no-untyped-call]  # untyped upstream


def _parts(settings: BigQuerySettings, rest: Any, restriction: str) -> list[str]:
    """One session for the real BigQuery; for the emulator ranges of ids, since it sends no message beyond 11 MB."""
    if not uses_emulator(settings):
        return [restriction]
    table = f"{settings.project}.{settings.dataset}.{TABLE}"
    query = f"SELECT COUNT(*), MIN(event_id), MAX(event_id) FROM `{table}`"  # noqa: S608 - names of ours
    with _no_table():
        job = rest.query(query, timeout=_TIMEOUT_S, retry=_REST_BRIEFLY, job_retry=None)
        ((rows, first, last),) = [tuple(row.values()) for row in job.result(timeout=_TIMEOUT_S, retry=_REST_BRIEFLY)]
    if rows <= _EMULATOR_ROWS or first is None:
        return [restriction]
    step = max((last - first + 1) * _EMULATOR_ROWS // rows, 1)
    ranges = [f"event_id BETWEEN {at} AND {at + step - 1}" for at in range(first, last + 1, step)]
    return [f"({part}) AND ({restriction or 'TRUE'})" for part in [*ranges, "event_id IS NULL"]]


def _session(settings: BigQuerySettings, client: BigQueryReadClient, restriction: str) -> types.ReadSession:
    with _no_table():
        return client.create_read_session(
            parent=f"projects/{settings.project}",
            read_session=types.ReadSession(
                table=f"projects/{settings.project}/datasets/{settings.dataset}/tables/{TABLE}",
                data_format=types.DataFormat.ARROW,
                read_options=types.ReadSession.TableReadOptions(
                    selected_fields=["event_id", *_OWN, *_JOINED, "_topic_partition", "_offset", "_dlq"],
                    row_restriction=restriction,
                ),
            ),
            max_stream_count=1,
            timeout=_TIMEOUT_S,
            retry=_BRIEFLY,
        )


def _rows(client: BigQueryReadClient, session: types.ReadSession) -> Iterator[pa.RecordBatch]:
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    for stream in session.streams:
        answers = client.read_rows(stream.name, timeout=_TIMEOUT_S, retry=_BRIEFLY)  # type: ignore[no-untyped-call]  # untyped upstream
        for answer in answers:
            data = answer.arrow_record_batch.serialized_record_batch
            batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
            for first in range(0, batch.num_rows, _CHUNK):
                yield batch.slice(first, _CHUNK)


@contextmanager
def _no_table() -> Iterator[None]:
    try:
        yield
    except foreign.NotFound as error:
        raise NoTable from error


def _read_client(settings: BigQuerySettings, rest: Any) -> BigQueryReadClient:
    if not uses_emulator(settings):
        return BigQueryReadClient(credentials=rest._credentials)  # type: ignore[no-untyped-call]  # noqa: SLF001 - untyped upstream; the identity of REST
    channel = grpc.insecure_channel(settings.grpc_endpoint, options=[("grpc.max_receive_message_length", -1)])
    return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))  # type: ignore[no-untyped-call]  # untyped upstream

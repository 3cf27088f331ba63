"""Committed write streams: make, finalize, append; every call bounded in time.

An append is a short call of its own on a kept-open channel instead of one endless call: nothing to reconnect after
the server's ten idle minutes, and a black hole ends at the deadline. Ambiguity is not settled here: whoever cannot
know whether an append happened finalizes the stream, and the row count tells.
Source: "BigQuery Storage Write API best practices" and storage.proto, googleapis.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from google.api_core.exceptions import NotFound
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Reopen
from engagement_stream.sinks.bigquery.errors import StreamGone, translated
from engagement_stream.sinks.bigquery.rows import SCHEMA_BYTES

_INVALID_ARGUMENT = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server took none of the rows; `rows` are the indexes it objects to, empty if it does not say."""

    rows: Sequence[int]
    detail: str


class WriteStreams:
    """The Storage Write API of one table; no call takes longer than `call_s`."""

    def __init__(self, client: BigQueryWriteClient, parent: str, call_s: float) -> None:
        self._client, self._parent, self._call_s = client, parent, call_s

    def create(self) -> str:
        """The name of a new committed stream; one nobody uses costs nothing. Raises Retry."""
        crash_point("bigquery.before_create_stream")
        wanted = types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
        with translated("making a write stream"):
            made = self._client.create_write_stream(parent=self._parent, write_stream=wanted, timeout=self._call_s)
        crash_point("bigquery.after_create_stream")
        return str(made.name)

    def finalize(self, name: str) -> int:
        """Nobody can append to it from now on; returns its exact number of rows. Repeating it is harmless.

        Raises StreamGone when the server does not know it, Retry.
        """
        crash_point("bigquery.before_finalize")
        try:
            with translated("finalizing a write stream"):
                try:
                    answer = self._client.finalize_write_stream(name=name, timeout=self._call_s)
                except NotFound as error:
                    raise StreamGone(name) from error
        finally:
            crash_point("bigquery.after_finalize")
        return int(answer.row_count)

    def append(self, name: str, offset: int, rows: bytes) -> Refusal | None:
        """Append an Arrow record batch as rows `offset` and following; None: they are durable.

        Raises Reopen for every other outcome, a lost answer above all: only finalizing tells what happened.
        """
        request = types.AppendRowsRequest(
            write_stream=name,
            offset=offset,
            arrow_rows=types.AppendRowsRequest.ArrowData(
                writer_schema=types.ArrowSchema(serialized_schema=SCHEMA_BYTES),
                rows=types.ArrowRecordBatch(serialized_record_batch=rows),
            ),
        )
        crash_point("bigquery.before_append")
        with _Ambiguous(), translated("appending rows"):
            # One request, known before the call: the client library waits for the first answer inside of it.
            answers = list(
                self._client.append_rows(
                    iter([request]),
                    timeout=self._call_s,
                    metadata=[("x-goog-request-params", f"write_stream={name}")],
                )
            )
        crash_point("bigquery.after_append")
        if len(answers) != 1:
            raise Reopen(f"BigQuery gave {len(answers)} answers to one append")
        answer = answers[0]
        if answer.row_errors or answer.error.code == _INVALID_ARGUMENT:
            told = "; ".join(f"{e.message}" for e in answer.row_errors[:3]) or answer.error.message
            return Refusal([int(e.index) for e in answer.row_errors], told[:1_000])
        if answer.error.code:
            raise Reopen(f"BigQuery answered an append with code {answer.error.code}: {answer.error.message[:300]}")
        if answer.append_result.offset != offset:
            raise Reopen(f"rows went to offset {answer.append_result.offset}, {offset} was asked for")
        return None


class _Ambiguous:
    """Whatever went wrong, the rows may have arrived."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception):
            raise Reopen(str(error)) from error

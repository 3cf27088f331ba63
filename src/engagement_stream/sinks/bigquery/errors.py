"""The one border where Google's and gRPC's errors become instructions."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import grpc
import requests.exceptions
from google.api_core import exceptions as foreign
from google.auth import exceptions as auth
from google.cloud.bigquery_storage_v1 import types

from engagement_stream.errors import Fatal, Reopen, Retry

_Code = grpc.StatusCode
_Storage = types.StorageError.StorageErrorCode
MENDED_BY_A_PERSON_S = 30.0

_NOT_ALLOWED = frozenset({_Code.PERMISSION_DENIED, _Code.UNAUTHENTICATED})
_NUMBERS = {code.value[0]: code for code in _Code}


class Answer(Enum):
    """What an answer to an append means for the rows that were sent."""

    DONE = "they are in the stream"
    THERE_BEFORE = "the stream is beyond their offset"
    TOO_EARLY = "the stream has not come to their offset"
    REFUSED = "some of them are not acceptable"
    NOT_NOW = "nobody knows: send the same again"
    NOT_ALLOWED = "a person has to give us the right to"
    GONE = "the stream takes nothing any more, or cannot be believed: open again"


_BY_STORAGE_CODE = {
    _Storage.OFFSET_ALREADY_EXISTS: Answer.THERE_BEFORE,
    _Storage.OFFSET_OUT_OF_RANGE: Answer.TOO_EARLY,
    _Storage.STREAM_FINALIZED: Answer.GONE,
    _Storage.STREAM_NOT_FOUND: Answer.GONE,
    _Storage.STREAM_ALREADY_COMMITTED: Answer.GONE,
    _Storage.INVALID_STREAM_STATE: Answer.GONE,
    _Storage.INVALID_STREAM_TYPE: Answer.GONE,
    _Storage.TABLE_NOT_FOUND: Answer.GONE,
    _Storage.SCHEMA_MISMATCH_EXTRA_FIELDS: Answer.GONE,  # opening again makes the table right
    _Storage.KMS_SERVICE_ERROR: Answer.NOT_NOW,
    _Storage.CMEK_ENCRYPTION_ERROR: Answer.NOT_NOW,
    _Storage.KMS_PERMISSION_DENIED: Answer.NOT_ALLOWED,
    _Storage.CMEK_NOT_PROVIDED: Answer.NOT_ALLOWED,
    _Storage.INVALID_CMEK_PROVIDED: Answer.NOT_ALLOWED,
}
_BY_CODE = {
    _Code.OK: Answer.DONE,
    _Code.ALREADY_EXISTS: Answer.THERE_BEFORE,
    _Code.OUT_OF_RANGE: Answer.TOO_EARLY,
    _Code.INVALID_ARGUMENT: Answer.REFUSED,
    _Code.PERMISSION_DENIED: Answer.NOT_ALLOWED,
    _Code.UNAUTHENTICATED: Answer.NOT_ALLOWED,
    _Code.FAILED_PRECONDITION: Answer.GONE,
    _Code.NOT_FOUND: Answer.GONE,
    _Code.DATA_LOSS: Answer.GONE,
    _Code.UNIMPLEMENTED: Answer.GONE,
    # A server that broke off in the middle: bqemulator moves its offset before it stores, and then says this.
    _Code.UNKNOWN: Answer.GONE,
}
"""Every other code (UNAVAILABLE, ABORTED, INTERNAL, RESOURCE_EXHAUSTED, CANCELLED, DEADLINE_EXCEEDED) is NOT_NOW."""


def judge_append(code: int, storage_code: int = 0) -> Answer:
    """Meaning of the status of an answer; `storage_code` is the StorageError among its details, if any. Pure."""
    if storage_code and storage_code in _BY_STORAGE_CODE:
        return _BY_STORAGE_CODE[_Storage(storage_code)]
    status = _NUMBERS.get(code)
    return Answer.NOT_NOW if status is None else _BY_CODE.get(status, Answer.NOT_NOW)


def storage_code(response: types.AppendRowsResponse) -> int:
    """Code of the StorageError among the details of an answer's error; 0 without one."""
    for detail in response.error.details:
        if detail.type_url.endswith("google.cloud.bigquery.storage.v1.StorageError"):
            return int(types.StorageError.deserialize(detail.value).code)
    return 0


def not_allowed(what: str) -> Retry:
    """The stage waits, visibly, and goes on by itself once a person has given it the right."""
    return Retry(
        f"BigQuery does not allow it: {what}; give the service account roles/bigquery.dataEditor on the dataset and "
        "roles/bigquery.jobUser on the project",
        after_s=MENDED_BY_A_PERSON_S,
    )


def instruction(error: Exception, doing: str) -> Retry | Reopen | Fatal:
    """What to do about an error of a call that may be repeated."""
    text = f"{doing}: {_plain(error)}"
    if isinstance(error, foreign.Forbidden | foreign.Unauthorized) and not _is_quota(error):
        return not_allowed(text)
    if isinstance(error, auth.RefreshError) and not error.retryable:
        return not_allowed(text)
    if isinstance(error, foreign.NotFound):
        return Reopen(f"BigQuery does not know it any more, {text}")
    if isinstance(error, foreign.BadRequest | foreign.MethodNotImplemented) and not isinstance(
        error, foreign.OutOfRange | foreign.FailedPrecondition
    ):
        return Fatal(
            f"BigQuery refuses what we ask, {text}",
            remedy="look at BIGQUERY_PROJECT_ID and BIGQUERY_DATASET_ID, and whether the table engagement_events was "
            "changed by hand",
        )
    return Retry(f"BigQuery cannot be reached, {text}")


FOREIGN: tuple[type[Exception], ...] = (
    foreign.GoogleAPIError,
    auth.GoogleAuthError,
    grpc.RpcError,
    requests.exceptions.RequestException,
    OSError,
)
"""All that the clients raise."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise instructions (Retry, Reopen, Fatal) in place of the clients' errors."""
    try:
        yield
    except FOREIGN as error:
        raise instruction(error, doing) from error


def _is_quota(error: Exception) -> bool:
    """REST answers 403 to rate limits too; those pass by themselves."""
    text = str(error).lower()
    return "ratelimitexceeded" in text or "quotaexceeded" in text or "quota exceeded" in text


def _plain(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__

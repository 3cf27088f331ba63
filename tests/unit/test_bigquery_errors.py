"""Every error of Google's clients has an instruction, and every status of an append a meaning."""

import inspect
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.auth import exceptions as auth
from google.cloud.bigquery_storage_v1 import types
from google.rpc import status_pb2

from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.sinks.bigquery.errors import FOREIGN, Answer, instruction, judge_append, storage_code, translated

foreign: Any = exceptions
"""Untyped upstream."""

CALL_ERRORS = [
    kind
    for _, kind in inspect.getmembers(foreign, inspect.isclass)
    if issubclass(kind, foreign.GoogleAPICallError) and kind.__module__ == foreign.__name__
]
AUTH_ERRORS = [kind for _, kind in inspect.getmembers(auth, inspect.isclass) if issubclass(kind, auth.GoogleAuthError)]


@pytest.mark.parametrize("kind", [*CALL_ERRORS, *AUTH_ERRORS], ids=lambda kind: kind.__name__)
def test_no_foreign_error_passes_the_border(kind: type[Exception]) -> None:
    """Each becomes Retry, Reopen or Fatal, and says what was being done."""
    assert issubclass(kind, FOREIGN)
    with pytest.raises((Retry, Reopen, Fatal), match="looking"), translated("looking"):
        raise kind("text")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (foreign.ServiceUnavailable("x"), Retry),
        (foreign.DeadlineExceeded("x"), Retry),
        (foreign.TooManyRequests("x"), Retry),
        (foreign.Aborted("x"), Retry),
        (foreign.InternalServerError("x"), Retry),
        (foreign.RetryError("x", None), Retry),
        (ConnectionRefusedError("x"), Retry),
        (foreign.NotFound("x"), Reopen),
        (foreign.BadRequest("x"), Fatal),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_says_what_to_do(error: Exception, kind: type[Exception]) -> None:
    """Wait, look again, or halt."""
    assert isinstance(instruction(error, "looking"), kind)


def test_a_missing_right_is_waited_for_and_named() -> None:
    """It comes back by itself once somebody has granted it; asking every tenth of a second helps nobody."""
    told = instruction(foreign.Forbidden("no"), "looking")
    assert isinstance(told, Retry)
    assert "roles/bigquery.dataEditor" in str(told)
    assert told.after_s


def test_a_rate_limit_is_no_missing_right() -> None:
    """REST answers 403 to both."""
    told = instruction(foreign.Forbidden("Exceeded rate limits: rateLimitExceeded"), "looking")
    assert isinstance(told, Retry)
    assert told.after_s is None


@pytest.mark.parametrize("code", grpc.StatusCode, ids=lambda code: code.name)
def test_every_status_of_an_append_has_a_meaning(code: grpc.StatusCode) -> None:
    """Only OK means that the rows are there."""
    assert (judge_append(code.value[0]) is Answer.DONE) == (code is grpc.StatusCode.OK)


@pytest.mark.parametrize("name", ["UNAVAILABLE", "ABORTED", "INTERNAL", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"])
def test_what_passes_by_itself_is_sent_again(name: str) -> None:
    """The same bytes, at the same offset."""
    assert judge_append(grpc.StatusCode[name].value[0]) is Answer.NOT_NOW


@pytest.mark.parametrize("code", types.StorageError.StorageErrorCode, ids=lambda code: code.name)
def test_the_storage_error_knows_better_than_the_status(code: types.StorageError.StorageErrorCode) -> None:
    """The real service says INVALID_ARGUMENT for much that is no fault of a row."""
    answer = judge_append(grpc.StatusCode.INVALID_ARGUMENT.value[0], int(code))
    assert (answer is Answer.REFUSED) == (code == 0)


def test_the_storage_error_is_found_among_the_details() -> None:
    """As the service packs it."""
    detail = types.StorageError(code=types.StorageError.StorageErrorCode.STREAM_FINALIZED)
    status = status_pb2.Status(code=9)
    packed = status.details.add()
    packed.type_url = "type.googleapis.com/google.cloud.bigquery.storage.v1.StorageError"
    packed.value = types.StorageError.serialize(detail)
    assert storage_code(types.AppendRowsResponse(error=status)) == types.StorageError.StorageErrorCode.STREAM_FINALIZED
    assert storage_code(types.AppendRowsResponse()) == 0

"""Every error of the Redis client has an instruction, and where to go on from is decided without doubt."""

import pytest
from redis import exceptions as foreign

from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.sinks.redis.errors import instruction, translated
from engagement_stream.sinks.redis.place import resume_at, server_findings

_ERRORS = sorted(
    (
        kind
        for kind in vars(foreign).values()
        if isinstance(kind, type) and issubclass(kind, foreign.RedisError | foreign.RedisClusterException)
    ),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", _ERRORS, ids=lambda kind: kind.__name__)
def test_no_error_of_the_client_passes_the_border(kind: type[Exception]) -> None:
    """A new one in a new version of the client is an instruction too."""
    error = kind.__new__(kind)
    error.args = ("NAME what happened",)
    with pytest.raises((Retry, Reopen, Fatal)), translated():
        raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (foreign.ConnectionError("refused"), Retry),
        (foreign.TimeoutError("no answer"), Retry),
        (foreign.BusyLoadingError("LOADING"), Retry),
        (foreign.OutOfMemoryError("OOM command not allowed"), Retry),
        (foreign.ReadOnlyError("READONLY a replica"), Retry),
        (foreign.AuthenticationError("WRONGPASS"), Retry),
        (foreign.ResponseError("BUSY a script runs"), Retry),
        (foreign.ResponseError("MISCONF disk is full"), Retry),
        (foreign.NoScriptError("NOSCRIPT"), Reopen),
        (foreign.ResponseError("WRONGTYPE not a hash"), Fatal),
        (foreign.ResponseError("ERR in script"), Fatal),
        (OSError("no route"), Retry),
    ],
    ids=str,
)
def test_what_may_pass_is_waited_for_and_what_may_not_halts(error: Exception, kind: type[Exception]) -> None:
    """A server's state passes; a wrong command does not."""
    assert isinstance(instruction(error), kind)


def test_an_instruction_never_carries_the_password() -> None:
    """The client's own messages name host and port only."""
    assert "secret" not in str(instruction(foreign.ConnectionError("Error 111 connecting to localhost:6379.")))


@pytest.mark.parametrize(
    ("fence", "begins_at", "ends_at", "answer"),
    [(None, 0, 0, 0), (None, 0, 50, 0), (0, 0, 50, 0), (50, 0, 50, 50), (50, 50, 90, 50)],
)
def test_the_fence_says_where_to_go_on(fence: int | None, begins_at: int, ends_at: int, answer: int) -> None:
    """And without one only the log's very beginning will do."""
    assert resume_at("p", "t", 3, fence, begins_at, ends_at) == answer


@pytest.mark.parametrize(
    ("fence", "begins_at", "ends_at", "reason", "remedy"),
    [
        (None, 7, 50, "holds no position", "HSET p:{3}:position fence 7"),
        (60, 0, 50, "the log ends at 50", "delete the keys p:{3}:*"),
        (5, 7, 50, "2 offsets were trimmed", "HSET p:{3}:position fence 7"),
    ],
)
def test_a_place_that_cannot_be_right_halts_with_a_remedy(
    fence: int | None, begins_at: int, ends_at: int, reason: str, remedy: str
) -> None:
    """Redis lost too much, Kafka lost records, the log was trimmed."""
    with pytest.raises(Fatal, match=reason) as raised:
        resume_at("p", "t", 3, fence, begins_at, ends_at)
    assert remedy in raised.value.remedy


def test_a_server_that_evicts_or_is_too_old_is_refused() -> None:
    """Keys without expiry are safe from the volatile policies; no limit means no eviction."""
    good: dict[str, object] = {"redis_version": "7.2.4", "maxmemory": 100, "maxmemory_policy": "noeviction"}
    assert list(server_findings(good | {"aof_enabled": 1})) == []
    assert list(server_findings(good | {"maxmemory_policy": "volatile-lru", "aof_enabled": 1})) == []
    assert list(server_findings(good | {"maxmemory_policy": "allkeys-lru", "maxmemory": 0, "aof_enabled": 1})) == []
    assert "append-only" in next(iter(server_findings(good | {"aof_enabled": 0})))
    with pytest.raises(Fatal, match="evicts") as raised:
        list(server_findings(good | {"maxmemory_policy": "allkeys-lru"}))
    assert "CONFIG SET maxmemory-policy noeviction" in raised.value.remedy
    with pytest.raises(Fatal, match="too old"):
        list(server_findings({"redis_version": "6.2.14"}))

"""The one border where the Redis client's errors become instructions."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions as foreign

from engagement_stream.errors import Fatal, Reopen, Retry

_NOT_NOW = (
    OSError,
    foreign.ConnectionError,  # refused, reset, LOADING, wrong password: all of it may be mended over there
    foreign.TimeoutError,
    foreign.OutOfMemoryError,
    foreign.ReadOnlyError,
    foreign.MasterDownError,
    foreign.TryAgainError,
    foreign.NoPermissionError,
    foreign.AuthenticationWrongNumberOfArgsError,
    foreign.ClusterDownError,
    foreign.ClusterError,
    foreign.SlotNotCoveredError,
)
_NOT_NOW_PREFIXES = (
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "NOAUTH",
    "WRONGPASS",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "NOPERM",
    "OOM",
)


def instruction(error: Exception) -> Retry | Reopen | Fatal:
    """What to do about an error of the Redis client."""
    if isinstance(error, foreign.MovedError | foreign.AskError | foreign.CrossSlotTransactionError):
        return Fatal(
            f"Redis is a cluster and REDIS_URL names one of its nodes: {error}",
            remedy="point REDIS_URL at a server that is not a cluster, or at a proxy in front of the cluster",
        )
    if isinstance(error, _NOT_NOW) or str(error).startswith(_NOT_NOW_PREFIXES):
        return Retry(f"Redis cannot be written: {error}")
    if isinstance(error, foreign.NoScriptError):
        return Reopen("Redis forgot its scripts, so it may have been restarted")
    return Fatal(
        f"Redis refuses what we send: {type(error).__name__}: {error}",
        remedy="see that REDIS_URL is a Redis >= 7 or Valkey and that nobody else writes keys under REDIS_KEY_PREFIX",
    )


@contextmanager
def translated() -> Iterator[None]:
    """Raise instructions (Retry, Reopen, Fatal) in place of the client's errors."""
    try:
        yield
    except (foreign.RedisError, foreign.RedisClusterException, OSError) as error:
        raise instruction(error) from error

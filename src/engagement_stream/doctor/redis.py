"""Redis or Valkey: its version, what it does when memory or power runs out, its clock."""

import time
from collections.abc import Mapping

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as ClientRetry

from engagement_stream.doctor.clock import judge_clock, skew_s
from engagement_stream.doctor.examination import Examination
from engagement_stream.errors import EngagementError, Fatal
from engagement_stream.settings import Settings
from engagement_stream.sinks.redis.errors import translated
from engagement_stream.sinks.redis.place import server_findings

_TIMEOUT_S = 5.0
_CLI = 'redis-cli -u "$REDIS_URL"'
_NEARLY_FULL = 0.9


def check(settings: Settings) -> Examination:
    """By INFO and TIME; nothing is written."""
    of = Examination()
    client = redis.Redis.from_url(
        settings.redis.url.get_secret_value(),
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=ClientRetry(NoBackoff(), 0),
    )
    try:
        with translated():
            client.ping()
            before_s = time.time()
            seconds, micros = client.time()
            after_s = time.time()
            told = client.info("everything")
    except Fatal as error:
        of.error(str(error), error.remedy)
        return of
    except EngagementError as error:
        of.error(str(error), "start it, or correct REDIS_URL in .env; then: " + _CLI + " PING")
        return of
    finally:
        client.close()
    judge(of, told)
    judge_clock(of, "Redis", skew_s(before_s, seconds + micros / 1e6, after_s))
    return of


def judge(of: Examination, told: Mapping[str, object]) -> None:
    """Findings from INFO; pure."""
    name = "Valkey" if told.get("server_name") == "valkey" else "Redis"
    of.saw(f"{name} {told.get('valkey_version') or told.get('redis_version')}, {told.get('maxmemory_policy')}")
    try:
        for _sentence in server_findings(told):
            break  # without an append-only file: told below, with its command
    except Fatal as error:
        of.error(str(error), error.remedy)
    policy = str(told.get("maxmemory_policy", "noeviction"))
    limit_bytes, used_bytes = _number(told.get("maxmemory")), _number(told.get("used_memory"))
    if policy != "noeviction" and not (policy.startswith("allkeys") and limit_bytes):
        of.warning(
            f"maxmemory-policy is {policy}: with a maxmemory, keys could vanish silently",
            f"{_CLI} CONFIG SET maxmemory-policy noeviction   (and put it into the server's configuration)",
        )
    if told.get("aof_enabled") == 0:
        of.warning(
            "there is no append-only file: a restart loses the totals, and they are counted again from the log as far "
            "as it goes back",
            f"{_CLI} CONFIG SET appendonly yes   (and put it into the server's configuration)",
        )
    if told.get("role") in {"slave", "replica"}:
        of.error("this is a replica: it takes no writes", "REDIS_URL=redis://<the primary> in .env")
    if _number(told.get("cluster_enabled")):
        of.error(
            "this is a node of a cluster", "REDIS_URL=redis://<a server that is not a cluster, or a proxy> in .env"
        )
    if limit_bytes and used_bytes > _NEARLY_FULL * limit_bytes:
        of.warning(
            f"{used_bytes / limit_bytes:.0%} of maxmemory is used: when it is full, this sink waits",
            f"{_CLI} CONFIG SET maxmemory {2 * limit_bytes}",
        )


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0

"""Where to go on from, and whether this server may be trusted with totals: pure decisions at opening."""

from collections.abc import Iterator, Mapping

from engagement_stream.errors import Fatal
from engagement_stream.sinks.redis.keys import position_key, tag

_REBUILD = "count everything again out of PostgreSQL with `engagement rebuild redis`, then restart the stage"


def resume_at(
    prefix: str, topic: str, partition: int, fence: int | None, begins_at: int, ends_at: int, field: str = "fence"
) -> int:
    """The next offset to apply; raises Fatal where going on would lose or double something. `field` holds the fence."""
    name, key = f"{topic}[{partition}]", position_key(prefix, partition)
    if fence is None:
        if begins_at == 0:
            return 0
        raise Fatal(
            f"Redis holds no position for {name}, and the log begins only at {begins_at}: lifetime totals cannot be "
            "counted from it alone",
            remedy=f"{_REBUILD}; or restore Redis from its append-only file or a backup; to accept totals from the "
            f"oldest record kept on instead, run: HSET {key} {field} {begins_at}",
        )
    if fence > ends_at:
        raise Fatal(
            f"Redis has applied {name} up to {fence}, and the log ends at {ends_at}: Kafka lost records or the topic "
            "was made anew",
            remedy=f"if the topic was made anew on purpose, {_REBUILD} (or delete the keys {tag(prefix, partition)}* "
            "and restart the stage, to count the new topic alone); otherwise restore Kafka first",
        )
    if fence < begins_at:
        raise Fatal(
            f"Redis has applied {name} up to {fence}, and the log begins only at {begins_at}: "
            f"{begins_at - fence} offsets were trimmed before they were counted",
            remedy=f"{_REBUILD}; to accept totals without them instead, run: HSET {key} {field} {begins_at}",
        )
    return fence


def server_findings(told: Mapping[str, object]) -> Iterator[str]:
    """Warnings about a server, from its INFO; raises Fatal for one that cannot keep totals right."""
    version = str(told.get("redis_version", "0"))
    if int(version.split(".", maxsplit=1)[0]) < 7:
        raise Fatal(
            f"Redis {version} is too old: scripts need version 7",
            remedy="use Redis >= 7 or Valkey, or let ./start.sh bring its own (leave REDIS_URL unset)",
        )
    policy = str(told.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys") and told.get("maxmemory") not in {None, 0}:
        raise Fatal(
            f"Redis evicts keys when memory is short (maxmemory-policy {policy}): totals would vanish silently",
            remedy="run: CONFIG SET maxmemory-policy noeviction (and put it into the server's configuration)",
        )
    if told.get("aof_enabled") == 0:
        yield "Redis keeps no append-only file: after a restart the totals are read again from the log"

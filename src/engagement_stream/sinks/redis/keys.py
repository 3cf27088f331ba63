"""The keys in Redis, for this code and for people who look with `redis-cli`.

Every key of a partition of the enriched topic carries its number as the hash tag, so that on a cluster they all live
on one node and one script may change them together. With the default prefix and partition 3:

`engagement:partitions`          set: numbers of the partitions that have ever been written
`engagement:{3}:position`        hash: `fence` (next offset to apply), `replays_fence` (the same in the topic of
                                 dead letters that were sent back), `clock_us` (latest commit time applied,
                                 microseconds since 1970), `window_s`; `applying` only if a script broke off.
                                 After a rebuild out of PostgreSQL also `generation`, `rebuilt_lsn` (everything
                                 committed before this LSN is in it, and is passed over when the log tells it before
                                 offset `rebuilt_until`: behind that only replays are so old), `rebuilt_fence` and
                                 `rebuilt_replays` (where it joined the log and the replays) and `rebuilt_totals`;
                                 `rebuilding` names the generation that is being made

Everything else belongs to a generation. The first has no name; `engagement:{3}:g1a2b3c4d:totals` is of another one.
Scripts ask `position` for the present one in the same step in which they read or write.

`engagement:{3}:totals`          hash, over the whole partition: `events`, `play`, `pause`, `finish`, `click`,
                                 `untyped` (NULL or unknown type), `ms` (sum of duration_ms), `timed` (events with
                                 a duration), `no_content` (events whose content_id is NULL: in no ranking),
                                 `future` (event_ts after commit, counted at commit), `dead_letters`
`engagement:{3}:content:<id>`    hash: the same counters for one content, and `title`, `slug`, `content_type`
                                 (empty: NULL) as of the latest event, whose position is `as_of`; `rebuilt`: the
                                 counters as a rebuild found them
`engagement:{3}:users:<id>`      HyperLogLog of the content's users: PFCOUNT
`engagement:{3}:recent:<id>`     sorted set, all scores 0, ordered by member: 16 hex digits of event time, 16 of the
                                 event id, then a JSON array (see `reader.RecentEvent`)
`engagement:{3}:window`          sorted set: content -> events in the running window; ZREVRANGE 0 9 is the top ten
`engagement:{3}:window-ms`       hash: content -> duration_ms in the running window
`engagement:{3}:buckets`         sorted set: starts of the 10 s buckets of the window, seconds since 1970
`engagement:{3}:bucket:<start>`  hash: content -> events, `content:ms` -> duration_ms
"""

BUCKET_S = 10
"""Width of the event-time buckets; the window moves in such steps."""

_BIAS_TIME = 1 << 62
_BIAS_ID = 1 << 63


def tag(prefix: str, partition: int) -> str:
    """What every key of the partition begins with."""
    return f"{prefix}:{{{partition}}}:"


def generation_tag(prefix: str, partition: int, generation: str) -> str:
    """What every key of one generation begins with; `generation` is empty for the first."""
    return tag(prefix, partition) + (f"{generation}:" if generation else "")


def position_key(prefix: str, partition: int) -> str:
    return tag(prefix, partition) + "position"


def partitions_key(prefix: str) -> str:
    """The registry that tells readers which partitions there are."""
    return f"{prefix}:partitions"


def order_key(ts_us: int, event_id: int) -> str:
    """Text that sorts as (ts_us, event_id) does, negative ones included."""
    return f"{(ts_us + _BIAS_TIME) << 64 | (event_id + _BIAS_ID):032x}"


ORDER_KEY_LENGTH = 32

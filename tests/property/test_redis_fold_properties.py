"""However the log is cut, offered twice or lost over: Redis ends as a plain fold of the log."""

from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engagement_stream.errors import Reopen
from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis import RedisSink
from engagement_stream.sinks.redis.keys import order_key
from tests.fixtures.engagements import COMMIT_TS_US, record, watermark
from tests.fixtures.redis_model import folded, found
from tests.fixtures.road import MemoryLog

KEEP = 3
SECOND_US = 1_000_000

moments = st.builds(
    lambda base_s, more_us: COMMIT_TS_US + base_s * SECOND_US + more_us,
    st.sampled_from(
        [-90_000, -700, -601, -600, -599, -590, -70, -60, -50, -10, -1, 0, 1, 5, 9, 10, 11, 50, 59, 60, 61, 700]
    ),
    st.integers(0, 3),
)


@st.composite
def logs(draw: st.DrawFn) -> list[bytes]:
    """Events as they may come: late, early, repeated contents, NULLs, poison, marks; commits not always in order."""
    commits = draw(st.lists(moments, max_size=40))
    if draw(st.booleans()):
        commits.sort()
    values: list[bytes] = []
    for number, commit_us in enumerate(commits, 1):
        kind = draw(st.integers(0, 12))
        if kind == 0:
            values.append(watermark())
        elif kind == 1:
            values.append(b"{}")
        else:
            values.append(
                record(
                    draw(st.sampled_from([number, -number, number + (1 << 62)])),
                    content=draw(st.sampled_from([1, 2, 3, None])),
                    user=draw(st.sampled_from([1, 2, 3, None])),
                    event_type=draw(st.sampled_from(["play", "pause", "finish", "click", None])),
                    duration_ms=draw(st.sampled_from([None, 0, 1, 1_500, -7, (1 << 31) - 1])),
                    commit_ts_us=commit_us,
                    event_ts_us=draw(st.sampled_from([commit_us, -62_000_000_000 * SECOND_US]) | moments),
                    title=draw(st.sampled_from(["a", "b", "\u0639 \x00"])),
                )
            )
    return values


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Sees what the sink wrote."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=logs(), data=st.data())
def test_redis_ends_as_a_fold_of_the_log(
    redis_settings: RedisSettings, client: redis.Redis, values: list[bytes], data: st.DataObject
) -> None:
    """Random cuts, slices offered twice, slices from the past, new instances, lost data."""
    client.flushdb()
    chosen = redis_settings.model_copy(update={"recent_events": KEEP, "window_minutes": 1})
    log = MemoryLog()
    log.append(0, values)
    sink = RedisSink(chosen)
    position = sink.open([0], log.road())[0]
    try:
        while position < log.ends[0]:
            end = data.draw(st.integers(position + 1, log.ends[0]))
            prev = data.draw(st.sampled_from([position, position, max(position - 2, 0)]))
            durable = sink.write([log.slice(0, prev, end)]).durable
            position = durable[0]
            assert position == end
            event = data.draw(st.integers(0, 9))
            if event == 0:
                position = sink.open([0], log.road())[0]
                assert position == end
            elif event == 1 and position < log.ends[0]:
                client.flushdb()
                with pytest.raises(Reopen):
                    sink.write([log.slice(0, position)])
                position = sink.open([0], log.road())[0]
                assert position == 0
    finally:
        sink.close()
    assert found(client) == folded(values, window_s=60, keep=KEEP)


@given(st.lists(st.tuples(st.integers(-(1 << 60), 1 << 60), st.integers(-(1 << 63), (1 << 63) - 1))))
def test_order_keys_sort_as_time_and_id_do(pairs: list[tuple[int, int]]) -> None:
    """Also before 1970, and for negative ids."""
    assert sorted(pairs) == sorted(pairs, key=lambda pair: order_key(*pair))
    assert all(len(order_key(*pair)) == 32 for pair in pairs)

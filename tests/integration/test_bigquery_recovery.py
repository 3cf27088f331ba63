"""Where the BigQuery sink goes on after its server, its checkpoint, its table or its twin went strange ways."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from google.cloud import bigquery

from engagement_stream.errors import EngagementError, Fatal, Retry
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.base import Checkpoint
from engagement_stream.sinks.bigquery import BigQuerySink
from engagement_stream.sinks.bigquery.checkpoint import decode_mark
from engagement_stream.sinks.bigquery.client import rest_client
from engagement_stream.sinks.bigquery.table import COLUMNS, TABLE, ensure_table
from engagement_stream.stack.bigquery import BigQueryServer
from tests.contract.sink_contract import Worker, once, records
from tests.fixtures.bigquery import Proxies, delivered, offsets, proxied, query
from tests.fixtures.engagements import record, watermark
from tests.fixtures.road import MemoryLog


class World:
    """A case for `Worker` straight on the emulator."""

    def __init__(self, settings: BigQuerySettings) -> None:
        self.settings = settings

    def make(self) -> BigQuerySink:
        return BigQuerySink(self.settings, answer_s=3.0)

    def worker(self, log: MemoryLog) -> Worker:
        return Worker(self, log)  # type: ignore[arg-type]  # no proxy is asked for here


@pytest.fixture
def world(bigquery_settings: BigQuerySettings) -> World:
    """An empty dataset."""
    return World(bigquery_settings)


@pytest.fixture
def log() -> MemoryLog:
    """Ten events, watermarks among them."""
    log = MemoryLog()
    log.append(0, [watermark(), *records(1, 5), watermark()])
    log.append(0, records(6, 10))
    return log


def test_a_server_that_forgot_its_streams_is_asked_for_its_rows(
    bigquery_server: BigQueryServer, world: World, log: MemoryLog
) -> None:
    """The emulator forgets streams when it restarts; a twin with an old stream finds nothing to append to."""
    twin = world.worker(log)
    twin.offer({0: 4})
    bigquery_server.kill()
    bigquery_server.start()
    second = world.worker(log)
    assert second.positions == {0: 4}
    second.offer({0: 7})
    with contextlib.suppress(EngagementError):
        twin.offer()
    second.deliver()
    for worker in (twin, second):
        worker.sink.close()
    assert delivered(world.settings) == once(1, 10)


def test_a_checkpoint_that_lags_is_counted_forward(world: World, log: MemoryLog) -> None:
    """Over watermarks and markers, which make no row."""
    first = world.worker(log)
    old = log.checkpoints[0]
    first.deliver()
    first.sink.close()
    log.checkpoints[0] = old
    second = world.worker(log)
    assert second.positions == {0: log.records[0][-1][0] + 1}
    second.deliver()
    second.sink.close()
    assert delivered(world.settings) == once(1, 10)


@pytest.mark.parametrize("left", [None, Checkpoint(3), Checkpoint(0), Checkpoint(2, "nonsense")], ids=str)
def test_without_metadata_the_table_tells(world: World, log: MemoryLog, left: Checkpoint | None) -> None:
    """Somebody committed without it, or the group's offsets expired."""
    first = world.worker(log)
    first.offer({0: 4})
    first.sink.close()
    log.checkpoints.pop(0)
    if left is not None:
        log.checkpoints[0] = left
    second = world.worker(log)
    assert second.positions == {0: 4}
    second.deliver()
    second.sink.close()
    assert delivered(world.settings) == once(1, 10)
    mark = decode_mark(log.checkpoints[0].metadata)
    assert mark is not None, "committed without metadata"


def test_another_dataset_gets_the_whole_log(world: World, log: MemoryLog) -> None:
    """And coming back to the first one doubles nothing there."""
    first = world.worker(log)
    first.deliver()
    first.sink.close()
    other = World(world.settings.model_copy(update={"dataset": world.settings.dataset + "_other"}))
    second = other.worker(log)
    second.deliver()
    second.sink.close()
    assert delivered(other.settings) == once(1, 10)
    log.append(0, records(11, 12))
    third = world.worker(log)
    third.deliver()
    third.sink.close()
    assert delivered(world.settings) == once(1, 12)


def test_a_table_that_was_dropped_is_filled_again_or_the_stage_halts(world: World, log: MemoryLog) -> None:
    """Filled while the log holds everything; nothing goes missing in silence."""
    first = world.worker(log)
    first.deliver()
    first.sink.close()
    for trimmed, halts in ((0, False), (3, True)):
        with closing(rest_client(world.settings)) as client:
            client.delete_table(f"{world.settings.project}.{world.settings.dataset}.{TABLE}")
        log.trimmed[0] = trimmed
        log.checkpoints[0] = Checkpoint(log.ends[0])
        if halts:
            with pytest.raises(Fatal, match="begins at offset 3"):
                world.worker(log)
        else:
            worker = world.worker(log)
            worker.deliver()
            worker.sink.close()
            assert delivered(world.settings) == once(1, 10)


def test_rows_that_the_emulator_counted_and_never_stored_are_delivered(world: World, log: MemoryLog) -> None:
    """It moves the stream's offset first; here its table has a column of which it says nothing."""
    worker = world.worker(log)
    worker.offer({0: 4})
    query(world.settings, "ALTER TABLE `{table}` ADD COLUMN surprise STRING")
    with pytest.raises(EngagementError):
        worker.offer()
    query(world.settings, "ALTER TABLE `{table}` DROP COLUMN surprise")
    worker.open()
    worker.deliver()
    worker.sink.close()
    assert delivered(world.settings) == once(1, 10)


def test_a_black_hole_is_not_waited_for_for_ever(
    bigquery_server: BigQueryServer, bigquery_settings: BigQuerySettings, log: MemoryLog
) -> None:
    """The runner has to poll now and then, or it loses its partitions."""
    proxies = Proxies(bigquery_server)
    worker = World(proxied(bigquery_settings, proxies)).worker(log)
    worker.offer({0: 4})
    proxies.blackhole()
    with pytest.raises(Retry, match="in time"):
        worker.offer()
    proxies.heal()
    worker.deliver()
    worker.sink.close()
    proxies.close()
    assert delivered(bigquery_settings) == once(1, 10)


def test_an_older_table_gets_the_columns_it_lacks(world: World, log: MemoryLog) -> None:
    """And may have some of its own."""
    with closing(rest_client(world.settings)) as client:
        client.create_dataset(world.settings.dataset)
        fields = [bigquery.SchemaField(name, kind) for name, kind, _ in COLUMNS if name not in {"device", "slug"}]
        table = bigquery.Table(f"{world.settings.project}.{world.settings.dataset}.{TABLE}", schema=fields)
        client.create_table(table)
    worker = world.worker(log)
    worker.deliver()
    worker.sink.close()
    assert delivered(world.settings) == once(1, 10)
    assert query(world.settings, "SELECT DISTINCT device, slug FROM `{table}` WHERE event_id = 1") == [
        ("phone", "content-1")
    ]


def test_the_table_is_made_as_documented_any_number_of_times(world: World) -> None:
    """Partitioned by the day of the event, clustered by content."""
    with closing(rest_client(world.settings)) as client:
        for _ in range(2):
            ensure_table(client, world.settings)
        table = client.get_table(f"{world.settings.project}.{world.settings.dataset}.{TABLE}")
    assert table.time_partitioning.field == "event_ts"
    assert table.time_partitioning.type_ == "DAY"
    assert table.clustering_fields == ["content_id"]
    assert [field.name for field in table.schema] == [name for name, _, _ in COLUMNS]


@pytest.fixture
def delivered_world(world: World) -> Iterator[World]:
    """Two contents over two hours, one event without content, one placeholder."""
    log = MemoryLog()
    log.append(0, [record(1, content=1, user=1), record(2, content=1, user=1, event_type="finish"), b"{"])
    log.append(0, [record(3, content=2, user=2, commit_ts_us=1_764_003_600_000_000), record(4, content=None)])
    worker = world.worker(log)
    worker.deliver()
    worker.sink.close()
    yield world
    assert offsets(world.settings) == [0, 1, 2, 4, 5]


def test_the_daily_summary_counts_each_content(delivered_world: World) -> None:
    """Placeholders are hidden."""
    sql = (
        "SELECT CAST(event_date AS STRING), title, events, plays, finishes, unique_users, engagement_seconds, "
        "avg_engagement_pct, completion_rate FROM `{dataset}.daily_engagement_summary` ORDER BY title NULLS LAST"
    )
    assert query(delivered_world.settings, sql) == [
        ("2025-11-24", "Content 1", 2, 1, 1, 1, 3.0, 2.5, 1.0),
        ("2025-11-24", "Content 2", 1, 1, 0, 1, 1.5, 2.5, 0.0),
        ("2025-11-24", None, 1, 1, 0, 1, 1.5, None, 0.0),
    ]


def test_the_hourly_trends_count_each_type(delivered_world: World) -> None:
    """By the hour of the event."""
    sql = (
        "SELECT hour_bucket, content_type, events, unique_users, unique_contents, engagement_seconds "
        "FROM `{dataset}.hourly_engagement_trends` ORDER BY hour_bucket, content_type NULLS LAST"
    )
    first, second = (datetime(2025, 11, 24, hour, tzinfo=UTC) for hour in (16, 17))
    assert query(delivered_world.settings, sql) == [
        (first, "podcast", 2, 1, 1, 3.0),
        (first, None, 1, 1, 0, 1.5),
        (second, "podcast", 1, 1, 1, 1.5),
    ]


def test_large_records_are_split_over_requests(world: World) -> None:
    """Twenty megabytes in one slice."""
    log = MemoryLog()
    log.append(0, [record(n, title="x" * 4_000_000) for n in range(1, 6)])
    worker = world.worker(log)
    worker.deliver()
    worker.sink.close()
    assert delivered(world.settings) == Counter(range(1, 6))

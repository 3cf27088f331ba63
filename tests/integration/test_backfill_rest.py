"""A backfill into the REST system: every event there, in order, by repeatable batches, killed or not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engagement_stream.backfill.lane_progress import LaneProgress, LaneState
from engagement_stream.backfill.rest_preview import preview_rest
from engagement_stream.errors import Fatal
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.postgres import PostgresServer
from engagement_stream.stack.receiver.faults import Reject
from tests.fixtures.backfill_world import BackfillWorld, backfill_world

KILLED_AT = (
    "backfill.before_lane_progress:2",
    "backfill.after_lane_progress",
    "backfill.before_send:3",
    "backfill.after_answer:2",
)


@pytest.fixture(scope="module")
def world(
    stack_dir: Path, kafka_server: KafkaServer, postgres_server: PostgresServer, bigquery_server: BigQueryServer
) -> Iterator[BackfillWorld]:
    """450 events, no pipeline."""
    with backfill_world(stack_dir, kafka_server, postgres_server, bigquery_server) as made:
        made.settings.postgres = made.settings.postgres.model_copy(update={"snapshot": "never"})
        made.fill(450, "5 minutes")
        yield made


def test_it_arrives_in_order_whatever_kills_it(world: BackfillWorld) -> None:
    """Each run goes on where the one before died; no batch comes again with other bytes."""
    for crash_at in KILLED_AT:
        process = world.start_backfill(crash_at, "--targets", "http", "--without-live")
        output, _ = process.communicate(timeout=120)
        assert process.returncode == -9, (crash_at, output)
    left = preview_rest(world.settings, world.days)
    assert left.after is not None
    report = world.run_rest(without_live=True)
    stats = world.receiver.stats(thorough=True)
    assert stats.events == 450
    assert stats.differing_events == stats.differing_requests == 0
    assert 0 < report.inserted == sum(day.missing for day in left.days) < 450
    ids = [int(event.id) for event in world.receiver.events()]
    assert ids == sorted(ids)


def test_a_dry_run_tells_of_the_rest_system_and_changes_nothing(world: BackfillWorld) -> None:
    """How many events would be sent, how large; BigQuery is not looked at."""
    before = world.receiver.stats(thorough=True)
    process = world.start_backfill("", "--targets", "http", "--dry-run")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "450 events (about 0." in output
    assert "would be sent to the REST system" in output
    assert "BigQuery" not in output
    assert world.receiver.stats(thorough=True) == before
    assert preview_rest(world.settings, world.days).event_bytes > 300


def test_the_rate_limit_holds_for_the_rest_system_too(world: BackfillWorld) -> None:
    """At no time is more sent than it allows, but for one batch."""
    rate_per_s, batch = 200.0, world.settings.http.batch_size
    report = world.run_rest(without_live=True, rows_per_s=rate_per_s)
    assert report.inserted == 450
    assert report.inserted <= report.seconds * rate_per_s + batch
    assert report.rested_s > 0


def test_a_second_run_sends_the_same_bytes_again(world: BackfillWorld) -> None:
    """A receiver that keeps the ids or the keys counts nothing twice."""
    world.run_rest(without_live=True)
    assert world.run_rest(without_live=True).inserted == 450
    stats = world.receiver.stats(thorough=True)
    assert stats.events == 450
    assert stats.differing_events == stats.differing_requests == 0


def test_an_endpoint_that_does_not_take_us_ends_the_run(world: BackfillWorld) -> None:
    """The progress stays, so that the next run goes on."""
    world.receiver.fail(Reject(status=401, times=0))
    try:
        with pytest.raises(Fatal, match="EXTERNAL_API_TOKEN"):
            world.run_rest(without_live=True)
    finally:
        world.receiver.behave()
    assert world.run_rest(without_live=True).inserted == 450


def test_the_progress_is_what_was_written_last(world: BackfillWorld) -> None:
    """One key a range; forgotten, it begins anew."""
    progress, other = (LaneProgress(world.settings.kafka, key) for key in ("one", "another"))
    progress.write(LaneState(after=None, through=5))
    progress.write(LaneState(after=5, through=9))
    other.write(LaneState(after=1))
    assert progress.read() == LaneState(after=5, through=9)
    progress.forget()
    assert progress.read() == LaneState()
    assert other.read() == LaneState(after=1)

"""A backfill where no pipeline has ever run: it says so, and does without one only where that is safe."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engagement_stream.errors import ConfigurationError
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.postgres import PostgresServer
from tests.fixtures.backfill_world import BackfillWorld, backfill_world
from tests.fixtures.bigquery import delivered, query


@pytest.fixture(scope="module")
def world(
    stack_dir: Path, kafka_server: KafkaServer, postgres_server: PostgresServer, bigquery_server: BigQueryServer
) -> Iterator[BackfillWorld]:
    """Topics, but nobody who uses them."""
    with backfill_world(stack_dir, kafka_server, postgres_server, bigquery_server) as made:
        made.fill(300, "10 minutes")
        yield made


def test_without_a_pipeline_it_says_what_to_start(world: BackfillWorld) -> None:
    """Nothing is inserted."""
    with pytest.raises(ConfigurationError, match=r"no pipeline has read this database yet: start it \(./start.sh"):
        world.run()
    assert not delivered(world.settings.bigquery)


def test_without_live_is_refused_where_a_first_start_would_double(world: BackfillWorld) -> None:
    """Its first copy would bring the same days by the stream."""
    with pytest.raises(ConfigurationError, match="CAPTURE_SNAPSHOT=never"):
        world.run(without_live=True)


def test_without_live_the_table_fills_from_postgresql_alone(world: BackfillWorld) -> None:
    """Each event once, joined with the content table; again and nothing is added."""
    world.settings.postgres = world.settings.postgres.model_copy(update={"snapshot": "never"})
    assert world.run(without_live=True).inserted == 300
    assert world.run(without_live=True).inserted == 0
    ids = [row[0] for row in world.sql("select id from engagement_events")]
    assert delivered(world.settings.bigquery) == Counter(ids)
    assert query(
        world.settings.bigquery,
        "SELECT COUNT(*) FROM `{table}` WHERE title LIKE 'title%' AND _source = 'backfill' AND commit_ts IS NOT NULL",
    ) == [(300,)]

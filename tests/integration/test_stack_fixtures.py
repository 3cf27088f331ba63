"""The fixtures give every test servers that work and a world of its own."""

from urllib.request import urlopen

import psycopg
import pytest
import redis
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from engagement_stream.settings import BigQuerySettings, KafkaSettings, PostgresSettings


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_finds_the_source_schema_empty(database_url: str, turn: int) -> None:
    """A fresh database, whatever the test before wrote."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from content").fetchone() == (0,)
        connection.execute(
            "insert into content values (gen_random_uuid(), 's', 't', 'video', 10, now())",
        )


def test_a_slot_and_a_prepared_transaction_left_behind_do_not_block_the_cleaning_up(
    postgres_settings: PostgresSettings,
) -> None:
    """A test may end in the middle of anything."""
    with psycopg.connect(postgres_settings.database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (postgres_settings.slot,))
        connection.execute("begin")
        connection.execute("insert into content values (gen_random_uuid(), 's', 't', 'video', 10, now())")
        connection.execute("prepare transaction 'left'")


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_finds_redis_empty(redis_url: str, turn: int) -> None:
    """A flushed logical database each."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("k", turn)


def test_kafka_makes_a_topic(kafka_settings: KafkaSettings) -> None:
    """The broker takes orders."""
    admin = AdminClient({**kafka_settings.client_config()})
    for future in admin.create_topics([NewTopic(kafka_settings.events_topic, 4, 1)]).values():
        future.result(10)


def test_bigquery_makes_a_dataset(bigquery_settings: BigQuerySettings) -> None:
    """The emulator takes orders."""
    with bigquery.Client(
        project=bigquery_settings.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # the library's
        client_options=ClientOptions(api_endpoint=bigquery_settings.rest_endpoint),
    ) as client:
        client.create_dataset(bigquery_settings.dataset)
        assert bigquery_settings.dataset in {item.dataset_id for item in client.list_datasets()}
    with urlopen(f"{bigquery_settings.rest_endpoint}/readyz", timeout=5) as answer:
        assert answer.status == 200

"""Rows that do not come by a write stream: staged by truncating, inserted where they are missing, one at a time."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta

import pytest
from google.cloud import bigquery

from engagement_stream.errors import Fatal
from engagement_stream.settings import BigQuerySettings, PostgresSettings
from engagement_stream.sinks.bigquery.client import rest_client
from engagement_stream.sinks.bigquery.exclusive import INSERT, Held, exclusive
from engagement_stream.sinks.bigquery.insert_missing import insert_missing
from engagement_stream.sinks.bigquery.job_chain import JobChain
from engagement_stream.sinks.bigquery.staging import Staging, parquet
from engagement_stream.sinks.bigquery.table import ensure_table
from tests.fixtures.bigquery import delivered, query
from tests.fixtures.staged_rows import DAY, NEXT_DAY, staged_rows
from tests.fixtures.waiting import wait_until

TODAY = date(2026, 2, 3)


@pytest.fixture
def client(bigquery_settings: BigQuerySettings) -> Iterator[bigquery.Client]:
    """A client of a dataset that has the table."""
    with closing(rest_client(bigquery_settings)) as made:
        ensure_table(made, bigquery_settings)
        yield made


def test_only_what_is_missing_is_inserted(client: bigquery.Client, bigquery_settings: BigQuerySettings) -> None:
    """A second insert of overlapping rows adds the rest; a chunk that was loaded twice is there once."""
    staging = Staging(client, bigquery_settings, "first")
    chain = JobChain(client, bigquery_settings, TODAY)
    staging.load(0, parquet(staged_rows(range(100))))
    tables = [staging.load(0, parquet(staged_rows(range(10)))), staging.load(1, parquet(staged_rows(range(10, 20))))]
    assert insert_missing(bigquery_settings, chain, tables, DAY, NEXT_DAY).rows == 20
    tables = [staging.load(0, parquet(staged_rows(range(5, 30))))]
    assert insert_missing(bigquery_settings, chain, tables, DAY, NEXT_DAY).rows == 10
    assert delivered(bigquery_settings) == Counter(range(30))


def test_a_payload_keeps_its_value(client: bigquery.Client, bigquery_settings: BigQuerySettings) -> None:
    """Staged as text, it becomes JSON; a number beyond what a double can hold does not break the statement."""
    staging = Staging(client, bigquery_settings, "payload")
    rows = staged_rows([1], payload='{"a": [1.5, "\\u00e9"], "n": 123456789012345678901234567890.1}')
    tables = [staging.load(0, parquet(rows)), staging.load(1, parquet(staged_rows([2])))]
    insert_missing(bigquery_settings, JobChain(client, bigquery_settings, TODAY), tables, DAY, NEXT_DAY)
    sql = "SELECT event_id, JSON_VALUE(raw_payload, '$.a[1]'), raw_payload IS NULL FROM `{table}` ORDER BY event_id"
    assert query(bigquery_settings, sql) == [(1, "é", False), (2, None, True)]


def test_a_placeholder_is_not_the_event(client: bigquery.Client, bigquery_settings: BigQuerySettings) -> None:
    """A dead-lettered record's row holds the id and nothing else; the event itself is still missing."""
    query(
        bigquery_settings, "INSERT INTO `{table}` (event_id, event_ts, _dlq) VALUES (7, TIMESTAMP '2025-08-01', TRUE)"
    )
    tables = [Staging(client, bigquery_settings, "dlq").load(0, parquet(staged_rows([7])))]
    chain = JobChain(client, bigquery_settings, TODAY)
    assert insert_missing(bigquery_settings, chain, tables, DAY, NEXT_DAY).rows == 1
    assert delivered(bigquery_settings) == Counter([7])


def test_numbers_of_the_chain_have_no_gap(client: bigquery.Client, bigquery_settings: BigQuerySettings) -> None:
    """Each holder goes on behind the last job it finds, and closes yesterday's chain against frozen twins."""
    staging = Staging(client, bigquery_settings, "chain")
    tables = [staging.load(0, parquet(staged_rows([1])))]
    for _ in range(3):
        chain = JobChain(client, bigquery_settings, TODAY)
        insert_missing(bigquery_settings, chain, tables, DAY, NEXT_DAY)
        insert_missing(bigquery_settings, chain, tables, DAY, NEXT_DAY)
    JobChain(client, bigquery_settings, TODAY + timedelta(days=1)).settle()
    assert "INSERT" in chain._look(chain._id(TODAY, 6)).query
    assert chain._look(chain._id(TODAY, 7)).query == "SELECT 1"
    assert not chain._exists(chain._id(TODAY, 8))


def test_a_statement_that_fails_says_why(client: bigquery.Client, bigquery_settings: BigQuerySettings) -> None:
    """A staging table that has expired under a frozen process: nothing is inserted."""
    chain = JobChain(client, bigquery_settings, TODAY)
    gone = f"{bigquery_settings.project}.{bigquery_settings.dataset}.engagement_staging_gone_0"
    with pytest.raises(Fatal, match="engagement_staging_gone_0"):
        insert_missing(bigquery_settings, chain, [gone], DAY, NEXT_DAY)
    assert not delivered(bigquery_settings)


def test_leftovers_of_dead_processes_are_dropped(client: bigquery.Client, bigquery_settings: BigQuerySettings) -> None:
    """Those of the named kind only."""
    Staging(client, bigquery_settings, "backfill_a").load(0, parquet(staged_rows([1])))
    Staging(client, bigquery_settings, "replay_b").load(0, parquet(staged_rows([1])))
    assert Staging(client, bigquery_settings, "backfill_c").drop_leftovers("backfill_") == 1
    left = [table.table_id for table in client.list_tables(bigquery_settings.dataset)]
    assert "engagement_staging_replay_b_0" in left
    assert not any("backfill" in name for name in left)


def test_the_second_holder_waits_and_is_told_for_whom(
    postgres_settings: PostgresSettings, bigquery_settings: BigQuerySettings
) -> None:
    """One at a time per target; the lock ends with its session."""
    told: list[str] = []
    held = threading.Event()

    def second() -> None:
        with exclusive(postgres_settings, bigquery_settings, INSERT, "second", told.append):
            held.set()

    thread = threading.Thread(target=second)
    with exclusive(postgres_settings, bigquery_settings, INSERT, "first", told.append) as first:
        assert isinstance(first, Held)
        thread.start()
        wait_until(lambda: told, 10, "the second is told that it waits")
        assert not held.is_set()
    thread.join(10)
    assert held.is_set()
    assert "engagement-first" in told[0]


def test_a_person_can_stop_waiting_for_the_lock(
    postgres_settings: PostgresSettings, bigquery_settings: BigQuerySettings
) -> None:
    """And another target does not wait at all."""
    other = bigquery_settings.model_copy(update={"dataset": "another_dataset"})
    ignore: list[str] = []
    with exclusive(postgres_settings, bigquery_settings, INSERT, "first", ignore.append):
        with exclusive(
            postgres_settings, bigquery_settings, INSERT, "second", ignore.append, stopped=lambda: True
        ) as second:
            assert second is None
        with exclusive(postgres_settings, other, INSERT, "third", ignore.append) as third:
            assert third is not None

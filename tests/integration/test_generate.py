"""The generator's modes against a real PostgreSQL: exact counts, believable rows, and content that exists."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from engagement_stream import generate
from engagement_stream.errors import ConfigurationError, Fatal
from engagement_stream.generate.copy_format import encode
from engagement_stream.generate.population import catalogue
from engagement_stream.generate.rhythm import even
from engagement_stream.generate.traffic import Traffic
from engagement_stream.generate.writer import Writer
from tests.fixtures.waiting import wait_until


def _one(database_url: str, query: str) -> Any:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def _rows(database_url: str) -> int:
    return int(_one(database_url, "select count(*) from engagement_events"))


def test_a_batch_is_exactly_as_large_as_asked_for(database_url: str) -> None:
    """One event, a hundred, and more than fits into one transaction."""
    reports: list[generate.Report] = []
    assert generate.batch(database_url, 1).rows == 1
    assert generate.batch(database_url, 100, reports.append).rows == 100
    assert generate.batch(database_url, 20_001).rows == 20_001
    assert _rows(database_url) == 20_102
    assert reports[-1].rows == reports[-1].total_rows == 100
    oldest, newest = _one(database_url, "select min(event_ts), max(event_ts) from engagement_events")
    assert newest <= datetime.now(UTC)
    assert oldest > datetime.now(UTC) - timedelta(hours=13)


def test_rows_arrive_as_they_were_made(database_url: str) -> None:
    """Value by value, in order: times to the microsecond, NULLs, JSON in every script."""
    now_us = time.time_ns() // 1_000
    writer = Writer(database_url, stop=threading.Event())
    traffic = Traffic(writer.ensure(catalogue(now_us)), 5, rate_per_s=20)
    events = traffic.events(even(now_us, now_us + 10_000_000, 5_000))
    writer.write(encode(events))
    writer.close()
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            """select content_id, user_id, event_type, (extract(epoch from event_ts) * 1000000)::bigint,
                      duration_ms, device, raw_payload from engagement_events order by id"""
        ).fetchall()
    for row, event in zip(rows, events, strict=True):
        content_id, user_id, *plain, payload = row
        assert (content_id and content_id.bytes, user_id and user_id.bytes) == (event.content_id, event.user_id)
        assert tuple(plain) == (event.event_type, event.event_ts_us, event.duration_ms, event.device)
        assert payload == (event.raw_payload and json.loads(event.raw_payload))


def test_past_days_have_days_and_nights_and_end_now(database_url: str) -> None:
    """The exact total, nothing outside the range, quiet nights, and progress on the way."""
    reports: list[generate.Report] = []
    before = datetime.now(UTC)
    report = generate.historical(database_url, 3, reports.append, total_rows=25_000, seed=1)
    assert report.rows == _rows(database_url) == 25_000
    assert [told.rows for told in reports] == [10_000, 20_000, 25_000]
    oldest, newest = _one(database_url, "select min(event_ts), max(event_ts) from engagement_events")
    assert before - timedelta(days=3) <= oldest < before - timedelta(days=2, hours=23)
    assert before - timedelta(hours=1) < newest <= datetime.now(UTC)
    evening, night = _one(
        database_url,
        """select count(*) filter (where extract(hour from event_ts) in (19, 20)),
                  count(*) filter (where extract(hour from event_ts) in (3, 4)) from engagement_events""",
    )
    assert evening > 5 * night


def test_months_have_content_that_was_published_meanwhile(database_url: str) -> None:
    """Nothing is used before it is out, new items come all the time, and the last weeks are busier than the first."""
    report = generate.historical(database_url, 400, total_rows=30_000, seed=1)
    assert report.rows == _rows(database_url) == 30_000
    first, last = _one(
        database_url,
        """select count(*) filter (where event_ts < now() - interval '350 days'),
                  count(*) filter (where event_ts > now() - interval '50 days') from engagement_events""",
    )
    assert last > 1.25 * first
    # An event may be hours late in reaching us, never early.
    early = "select count(*) from engagement_events e join content c on c.id = e.content_id where event_ts < publish_ts"
    assert _one(database_url, early + " - interval '1 day'") == 0
    months = _one(
        database_url,
        """select count(distinct date_trunc('month', publish_ts)) from content
            where publish_ts > now() - interval '360 days'""",
    )
    assert months >= 11


def test_two_that_start_at_once_share_the_content(database_url: str) -> None:
    """Neither fails, and no item is there twice."""
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: generate.batch(database_url, 3_000), range(4)))
    assert [report.rows for report in reports] == [3_000] * 4
    assert _rows(database_url) == 12_000
    assert _one(database_url, "select count(*) from content") == len(catalogue(0))


def test_content_that_is_there_is_used_as_it_is(database_url: str) -> None:
    """Somebody gave a slug of ours another id and length: their row stays, and events refer to it."""
    first = catalogue(0)[0]
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into content values (gen_random_uuid(), %s, 'Theirs', %s, 33, now() - interval '1 day')",
            (first.slug, first.content_type),
        )
    generate.batch(database_url, 5_000)
    title, length_seconds, events, longest_ms = _one(
        database_url,
        f"""select title, length_seconds, count(*), max(duration_ms)
            from content c join engagement_events e on e.content_id = c.id
            where slug = '{first.slug}' group by 1, 2""",
    )
    assert (title, length_seconds) == ("Theirs", 33)
    assert events > 0
    assert longest_ms is None or longest_ms <= 33_000


def test_content_that_was_deleted_comes_back(database_url: str) -> None:
    """A generator that runs while somebody empties the tables goes on."""
    stop, rows = threading.Event(), 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(generate.continuous, database_url, 500.0, stop)
        try:
            wait_until(lambda: _rows(database_url) > 50, 20, "the first events")
            with psycopg.connect(database_url) as connection:
                connection.execute("truncate content, engagement_events")
            wait_until(lambda: _rows(database_url) > 500, 20, "events after the truncate")
        finally:
            stop.set()
        rows = running.result(20).rows
    assert rows > _rows(database_url)
    assert _one(database_url, "select count(*) from content") >= len(catalogue(0))


def test_continuous_traffic_keeps_its_rate_and_changes_content(database_url: str) -> None:
    """Small transactions, events of now, items edited and published on the way."""
    stop = threading.Event()
    reports: list[generate.Report] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            generate.continuous, database_url, 200.0, stop, reports.append, seed=4, content_changes_per_min=600
        )
        try:
            wait_until(lambda: _rows(database_url) > 600, 30, "three seconds of traffic")
        finally:
            stop.set()
        report = running.result(20)
    assert report.rows == _rows(database_url)
    assert abs(report.rows - report.elapsed_s * 200) < 200  # a second's worth
    transactions, events = _one(database_url, "select count(distinct xmin::text), count(*) from engagement_events")
    assert events / transactions < 50
    assert report.content_changes > 5
    assert _one(database_url, "select count(*) from content") > len(catalogue(0))
    assert _one(database_url, "select count(*) from content where title like '%·%'") > 0
    assert [told for told in reports if told.waiting_for] == []


def test_a_database_without_the_tables_is_refused_with_what_to_do(postgres_server: Any) -> None:
    """No endless waiting for something a person has to do."""
    with pytest.raises(Fatal, match="does not exist") as refused:
        generate.batch(postgres_server.url_of("postgres"), 1)
    assert "sql/init.sql" in refused.value.remedy


@pytest.mark.parametrize("rate", [0.0, -1.0, 2e6, float("nan")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigurationError, match="rate"):
        generate.continuous("postgresql://localhost/x", rate, threading.Event())


def test_a_wrong_url_is_refused_without_showing_it() -> None:
    """It may hold a password."""
    with pytest.raises(ConfigurationError) as refused:
        generate.batch("postgresql://me:secret@host:not-a-port:9/x?y", 1)
    assert "secret" not in str(refused.value)

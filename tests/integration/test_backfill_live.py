"""A backfill beside the running pipeline: whatever happens, each event once with the values of the live path."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engagement_stream.backfill.known import DEAD_LETTERED
from engagement_stream.backfill.plan import GENTLE, at_rate
from engagement_stream.backfill.progress import Event, Planned, Read
from engagement_stream.backfill.run import preview
from engagement_stream.dlq.letter import Filter
from engagement_stream.enrich.storable import CONTENT_UNREADABLE
from engagement_stream.errors import ConfigurationError, Retry
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.postgres import PostgresServer
from tests.fixtures.backfill_world import STAGES, BackfillWorld, backfill_world, notes
from tests.fixtures.bigquery import query
from tests.fixtures.dead_letters import damage_content, mend_content, operating
from tests.fixtures.waiting import wait_until

_OLD = "event_id <= 3000"
"""Not the last records of a partition: the emulator's sink looks at its next start whether those were stored."""
KILLED_AT = (
    "backfill.before_snapshot",
    "backfill.after_snapshot",
    "backfill.before_emit",
    "backfill.after_emit",
    "backfill.after_watermark",
    "staging.before_load",
    "staging.after_load",
    "insert.before_issue",
    "insert.after_issue",
    "insert.after_done",
    "backfill.before_drop",
    "backfill.after_drop",
)
_INSERTED = KILLED_AT[KILLED_AT.index("insert.after_issue") :]


@pytest.fixture(scope="module")
def world(
    stack_dir: Path, kafka_server: KafkaServer, postgres_server: PostgresServer, bigquery_server: BigQueryServer
) -> Iterator[BackfillWorld]:
    """Some days of history: half came by the first copy, half by the stream, contents edited in between."""
    with backfill_world(stack_dir, kafka_server, postgres_server, bigquery_server) as made:
        made.fill(1_500, "150 seconds")
        made.start(*STAGES)
        wait_until(lambda: _captures(made), 60, "the first copy is over")
        for _ in range(3):
            made.fill(500, "160 seconds")
            made.edit_contents()
        made.fill(100, "1 second")
        made.bigquery_is_right()
        yield made


def _captures(world: BackfillWorld) -> bool:
    rows = world.sql("select active from pg_replication_slots where database = current_database()")
    return bool(rows and rows[0][0]) and not world.look().unreadable


@contextmanager
def traffic(world: BackfillWorld) -> Iterator[None]:
    """Somebody keeps writing, of now and of the days before, and edits contents."""
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.1):
            world.fill(30, "2 hours")
            world.edit_contents()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_an_overlap_with_live_and_a_repetition_double_nothing(world: BackfillWorld) -> None:
    """What was lost comes back once; a second run inserts nothing, and passes over the days that are complete."""
    lost = world.lose(f"{_OLD} AND MOD(event_id, 3) = 0")
    assert lost > 100
    with traffic(world):
        assert world.run().inserted >= lost
        world.run()
        assert not world.run().unexplained
    world.bigquery_is_right()


def test_two_at_once_take_turns(world: BackfillWorld) -> None:
    """The second says who runs, waits, and finds nothing left to do."""
    lost = world.lose(f"{_OLD} AND MOD(event_id, 5) = 1")
    held: list[threading.Thread] = []
    told: list[str] = []

    def second() -> None:
        with notes() as (sentences, tell):
            world.run(tell=tell)
            told.extend(sentences)

    def start_another(event: Event) -> None:
        if isinstance(event, Planned) and not held:
            held.append(threading.Thread(target=second))
            held[0].start()

    with traffic(world):
        report = world.run(tell=start_another)
        held[0].join(90)
    assert report.inserted >= lost
    assert any("engagement-backfill of" in sentence for sentence in told)
    world.bigquery_is_right()


def test_a_killed_backfill_is_simply_run_again(world: BackfillWorld) -> None:
    """After each step: what it had inserted stays, what it had only staged is inserted once."""
    for crash_at in KILLED_AT:
        world.lose(f"{_OLD} AND MOD(event_id, 2) = 0")
        process = world.start_backfill(crash_at)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == -9, (crash_at, output)
        missing = sum(day.missing for day in preview(world.settings, world.days).days)
        assert (missing == 0) == (crash_at in _INSERTED), crash_at
    world.lose(f"{_OLD} AND MOD(event_id, 2) = 0")
    world.run()
    assert not [name for (name,) in _tables(world) if "staging" in str(name)], "leftovers are dropped"
    world.bigquery_is_right()


def _tables(world: BackfillWorld) -> list[tuple[object, ...]]:
    return query(world.settings.bigquery, "SELECT table_name FROM `{dataset}`.INFORMATION_SCHEMA.TABLES")


def test_an_event_on_its_way_is_waited_for(world: BackfillWorld) -> None:
    """While the sink is away nothing is inserted, the message names it; once it is back, each event is there once."""
    world.stop("bigquery")
    world.fill(50, "1 hour")
    with pytest.raises(Retry, match=r"the bigquery sink has stood still.*partition \d"):
        world.run(patience_s=2.0)
    begun = threading.Thread(target=world.run)
    with notes() as (told, tell):
        begun = threading.Thread(target=lambda: world.run(tell=tell))
        begun.start()
        wait_until(lambda: any("the bigquery sink" in text for text in told), 30, "it says what it waits for")
        world.start("bigquery")
        begun.join(90)
    assert not begun.is_alive()
    world.bigquery_is_right()


def test_a_stopped_backfill_goes_on_where_it_was(world: BackfillWorld) -> None:
    """Ctrl-C between two groups keeps what was inserted."""
    lost = world.lose(_OLD)
    stop = threading.Event()
    report = world.run(stop=stop, tell=lambda event: stop.set() if isinstance(event, Read) else None, rows_per_s=1e6)
    assert report.stopped
    again = world.run()
    assert report.inserted + again.inserted == lost
    world.bigquery_is_right()


def test_what_live_would_refuse_is_left_out_and_told(world: BackfillWorld) -> None:
    """A payload that BigQuery does not take, and an event whose content cannot be stored."""
    deep = "[" * 600 + "]" * 600
    rows = world.sql(
        "insert into engagement_events (event_ts, raw_payload) values (now(), %s::jsonb) returning id", deep
    )
    content = "00000000-0000-4000-8000-000000000099"
    world.sql("insert into content values (%s, 'odd', 'odd', null, 1, 'infinity')", content)
    rows += world.sql("insert into engagement_events (content_id, event_ts) values (%s, now()) returning id", content)
    world.bigquery_is_right()
    report = world.run()
    assert sorted(i for ids in report.left_out.values() for i in ids) == sorted(row[0] for row in rows)  # type: ignore[type-var]
    assert not report.unexplained
    world.bigquery_is_right()


def test_what_enrich_has_dead_lettered_is_left_to_its_replay(world: BackfillWorld) -> None:
    """Though it could be enriched by now; the replay brings it, and no backfill after that a second one."""
    content = "00000000-0000-4000-8000-000000000077"
    world.sql("insert into content values (%s, 'late', 'late', 'video', 60, '2025-07-01T00:00:00Z')", content)
    world.await_raw(_event_of(world, content))
    damage_content(world, content)
    found = _event_of(world, content)
    with operating(world.settings.kafka) as operator:
        unreadable = Filter(stage="enrich", reason=CONTENT_UNREADABLE)  # other tests have left letters of their own
        wait_until(lambda: operator.letters(unreadable), 60, "the letter")
        mend_content(world, content)
        report = world.run()
        assert found in report.left_out[DEAD_LETTERED]
        assert not report.unexplained
        assert not _rows_of(world, found)
        assert operator.handling.replay(unreadable, "me").done == 1
    wait_until(lambda: _rows_of(world, found), 60, "the replay arrives")
    world.run()
    assert _rows_of(world, found) == [(found,)]
    world.bigquery_is_right()


def _event_of(world: BackfillWorld, content: str) -> int:
    insert = "insert into engagement_events (content_id, event_ts) values (%s, now()) returning id"
    return int(str(world.sql(insert, content)[0][0]))


def _rows_of(world: BackfillWorld, event_id: object) -> list[tuple[object, ...]]:
    return query(world.settings.bigquery, f"SELECT event_id FROM `{{table}}` WHERE event_id = {event_id} AND NOT _dlq")


def test_the_rate_limit_is_held(world: BackfillWorld) -> None:
    """At no time are more rows read than it allows, but for one chunk."""
    lost = world.lose(f"{_OLD} AND MOD(event_id, 4) = 0")
    rate_per_s = 600.0
    report = world.run(rows_per_s=rate_per_s)
    assert report.inserted == lost
    assert report.read > 2 * at_rate(GENTLE, rate_per_s).chunk_rows
    assert report.read <= report.seconds * rate_per_s + at_rate(GENTLE, rate_per_s).chunk_rows


def test_a_dry_run_counts_and_changes_nothing(world: BackfillWorld) -> None:
    """Per day: how many there are, how many are missing."""
    lost = world.lose(f"{_OLD} AND MOD(event_id, 4) = 0")
    found = preview(world.settings, world.days).days
    assert sum(day.missing for day in found) >= lost
    assert sum(day.missing for day in preview(world.settings, world.days).days) >= lost
    world.run()


def test_without_live_is_refused_where_live_delivers(world: BackfillWorld) -> None:
    """Its group has delivered into this table."""
    world.lose(f"{_OLD} AND MOD(event_id, 4) = 0")
    with pytest.raises(ConfigurationError, match="leave the option out"):
        world.run(without_live=True)
    world.run()


def test_the_command_line_says_what_it_did(world: BackfillWorld) -> None:
    """Days, rows, rate; exit code 0."""
    lost = world.lose(f"{_OLD} AND MOD(event_id, 4) = 0")
    process: subprocess.Popen[str] = world.start_backfill()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert f"{lost:,} events inserted" in output

"""The ledger on real servers: nothing is said of what is right, and every planted defect is named."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engagement_stream.stack.ports import free_port
from engagement_stream.verify.report import Place, Report
from tests.fixtures.damage import (
    Planted,
    damage_bigquery,
    damage_capture,
    damage_enriched,
    damage_letters,
    damage_receiver,
    damage_redis,
)
from tests.fixtures.ledger_world import EVENTS, STAGES, LedgerWorld, ledger_world
from tests.fixtures.stack import Servers


@pytest.fixture(scope="module")
def world(stack_dir: Path, servers: Servers) -> Iterator[LedgerWorld]:
    """History, live events, a content that changes in between, an event that cannot be stored, one changed later."""
    with ledger_world(stack_dir, *servers, redis_database=63) as world:
        world.sql(EVENTS, 50)
        world.start(*STAGES)
        world.await_raw(50)
        world.sql(EVENTS, 100)
        world.sql("update content set title = 'another title', length_seconds = 7 where slug = 'slug-1'")
        world.sql(EVENTS, 150)
        world.sql("insert into engagement_events (event_type, event_ts) values ('click', now()), (null, 'infinity')")
        world.sql("update engagement_events set device = 'changed' where id = 60")
        world.sql("delete from engagement_events where id in (10, 61)")
        yield world


@pytest.fixture(scope="module")
def clean(world: LedgerWorld) -> Report:
    """A look once everything is delivered, before anything is damaged."""
    return world.await_delivery()


@pytest.fixture(scope="module")
def damaged(world: LedgerWorld, clean: Report) -> tuple[Report, Planted]:
    """Every defect in every place; the report, and what it has to name."""
    assert clean.exit_code == 0
    planted = Planted()
    damage_capture(world, planted, [70, 71])
    world.stop_all()
    damage_enriched(world, planted, [80])
    damage_bigquery(world, planted, [90, 91, 92, 93, 94, 103])
    damage_receiver(world, planted, [110, 111, 112, 113, 122])
    damage_letters(world, planted, 120)
    damage_redis(world, planted)
    return world.look(), planted


def _place(report: Report, name: str) -> Place:
    return next(place for place in report.places if place.name == name)


def test_a_clean_run_has_nothing_to_report(clean: Report) -> None:
    """Every place was read, every row was found."""
    assert (clean.exit_code, clean.findings, clean.unreadable) == (0, [], [])
    rows = {place.name: place.rows for place in clean.places}
    # 302 events in all; two are deleted in PostgreSQL later, one cannot be stored, 50 are history.
    assert rows == {
        "postgresql": 300,
        "raw topic": 302,
        "enriched": 301,
        "bigquery": 301,
        "receiver": 251,
        "redis": 301,
        "dead letters": 1,
    }
    assert _place(clean, "raw topic").changed_later == 3
    assert _place(clean, "enriched").dead_lettered == 1
    assert _place(clean, "receiver").left_out == 50


def test_every_planted_defect_is_reported_with_its_id(damaged: tuple[Report, Planted]) -> None:
    """And nothing else is: what is behind a position is in flight, not missing."""
    report, planted = damaged
    planted.assert_found(report)
    assert report.exit_code == 1
    assert all(_place(report, name).in_flight for name in ("bigquery", "receiver", "redis"))


def test_the_command_says_it_with_its_exit_code(world: LedgerWorld, damaged: tuple[Report, Planted]) -> None:
    """For people, and for programs with --json."""
    del damaged
    shown = _verify(world)
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert "doubled: raw topic: 71 2 times" in shown.stdout
    assert "order break: receiver: 113 its offset was" in shown.stdout
    told = msgspec.json.decode(_verify(world, "--json").stdout, type=dict[str, object])
    assert told["exit_code"] == 1
    since = _verify(world, "--since", "2100-01-01")
    assert "raw topic" in since.stdout


def test_a_place_that_cannot_be_read_is_named_and_the_others_are_compared(world: LedgerWorld, clean: Report) -> None:
    """Exit code 2 where nothing is wrong elsewhere; the remedy says what to look at."""
    del clean
    port = free_port()
    shown = _verify(world, REDIS_URL=f"redis://127.0.0.1:{port}", ENABLED_SINKS="redis")
    assert "cannot be read: redis" in shown.stdout
    assert "REDIS_URL" in shown.stdout
    assert "enriched" in shown.stdout


def _verify(world: LedgerWorld, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "engagement_stream.cli", "verify", "--data-dir", str(world.data_dir), *options],
        env={**world.environment(), **environment, "PATH": "", "COLUMNS": "200"},
        cwd=world.data_dir,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

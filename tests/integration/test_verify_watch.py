"""`verify --watch` on real servers: silent while everything moves, and each defect found in the round after it."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from engagement_stream.observe.status import StageStatus, decode_report
from engagement_stream.stack.ports import free_port
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.report import Report
from engagement_stream.verify.state import State
from engagement_stream.verify.watch import Watch
from tests.fixtures.damage import (
    ONE,
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
from tests.fixtures.waiting import wait_until


class Watched:
    """A watch whose rounds are called one by one."""

    def __init__(self, world: LedgerWorld) -> None:
        self.world = world
        self.status = StageStatus("verify")
        self.said: list[str] = []
        self.ledger = Ledger()
        self._state = State(self.ledger)
        self._watch = Watch(world.settings, world.data_dir, self.status, self.said.append, every_s=60)

    def round(self) -> Report:
        report = self._watch.round(self._state)
        assert report.unreadable == []
        return report

    def settled(self) -> Report:
        """Rounds until nothing is on its way any more; each of them has to be clean."""
        reports: list[Report] = []

        def quiet() -> bool:
            reports.append(self.round())
            assert reports[-1].findings == []
            return not any(place.in_flight for place in reports[-1].places) and self._all_delivered()

        wait_until(quiet, 90.0, "every event to be delivered and looked at")
        return reports[-1]

    def _all_delivered(self) -> bool:
        """In PostgreSQL, behind every position, and looked at."""
        kept = "select count(*) from engagement_events where event_ts <> 'infinity'"
        ((events,),) = self.world.sql(kept)
        seen = "select coalesce(sum(last - first + 1), 0) from seen where place = ?"
        return all(self.ledger.value(seen, place) >= int(str(events)) for place in ("enriched", "bigquery", "http"))


@pytest.fixture(scope="module")
def world(stack_dir: Path, servers: Servers) -> Iterator[LedgerWorld]:
    """Every stage runs, and the first copy is over: so everything is sent to the receiver too."""
    with ledger_world(stack_dir, *servers, redis_database=62) as world:
        world.start(*STAGES)
        world.await_streaming()
        world.sql(EVENTS, 30)
        world.await_raw(30)
        wait_until(lambda: not world.look().unreadable, 60.0, "every place to be there")
        yield world


@pytest.fixture(scope="module")
def watched(world: LedgerWorld) -> Iterator[Watched]:
    """A first round has been."""
    watched = Watched(world)
    watched.settled()
    yield watched
    watched.ledger.close()


class Writers:
    """Sessions whose transactions overlap: ids become visible in another order than they were taken in."""

    def __init__(self, world: LedgerWorld, sessions: int) -> None:
        self._url = world.settings.postgres.database_url.get_secret_value()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(random.Random(n),)) for n in range(sessions)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, chance: random.Random) -> None:
        with psycopg.connect(self._url) as connection:
            while not self._stop.is_set():
                connection.execute(EVENTS.encode(), (chance.randint(1, 20),))
                self._stop.wait(chance.random() * 0.2)
                what = chance.random()
                if what < 0.1:
                    connection.rollback()  # its ids are never seen
                    continue
                newest = "(select max(id) from engagement_events)"
                if what < 0.3:
                    connection.execute(f"update engagement_events set device = 'later' where id = {newest}".encode())
                elif what < 0.4:
                    connection.execute(f"delete from engagement_events where id = {newest}".encode())
                elif what < 0.5:
                    connection.execute("update content set title = 't' || random() where slug = 'slug-2'")
                elif what < 0.55:
                    connection.execute("insert into engagement_events (event_ts) values ('infinity')")
                connection.commit()


def test_nothing_is_reported_while_everything_moves(watched: Watched) -> None:
    """Rows in flight, changed and deleted ones, overlapping transactions, stages that are killed and come back."""
    world = watched.world
    writers = Writers(world, 3)
    try:
        rounds = [watched.round() for _ in range(3)]
        for stage in ("enrich", "bigquery", "http", "redis", "capture"):
            world.kill(stage)
            rounds.append(watched.round())
            world.start(stage)
            rounds.append(watched.round())
    finally:
        writers.end()
    assert [report.findings for report in rounds] == [[]] * len(rounds)
    watched.settled()
    assert world.look().findings == []
    assert watched.status.report().state == "running"
    left = {
        table: watched.ledger.value(f"select count(*) from {table}") for table in ("source", "raw", "later", "http")
    }
    assert left == dict.fromkeys(left, 0), "what was compared is forgotten"


def test_a_defect_planted_after_a_clean_round_is_found_in_the_next(watched: Watched) -> None:
    """Of every kind and in every place; afterwards it is silent again, and the state stays degraded."""
    world = watched.world
    ((before,),) = world.sql("select max(id) from engagement_events")
    first = int(str(before)) + 1
    watched.settled()
    world.sql(EVENTS, 60)
    world.await_delivery()
    planted = Planted()
    ids = list(range(first, first + 60))
    damage_capture(world, planted, ids[:2])
    world.stop_all()
    damage_enriched(world, planted, ids[2:3])
    damage_bigquery(world, planted, [*ids[3:8], ids[16]])
    damage_receiver(world, planted, [*ids[20:24], ids[32]])
    damage_letters(world, planted, ids[40])
    damage_redis(world, planted)
    planted.assert_found(watched.round())
    report = watched.status.report()
    assert report.state == "degraded"
    assert "1 missing in bigquery" in report.reason
    assert "1 order breaks in receiver" in report.reason
    assert report.remedy
    assert any("doubled: bigquery" in line for line in watched.said)
    assert watched.round().findings == [], "what was told is not told again"


def test_an_old_event_that_comes_again_is_doubled(watched: Watched) -> None:
    """Although the round that saw it first is long over: ids are remembered, as ranges."""
    world = watched.world
    again = world.await_raw(25)
    world.produce(world.settings.kafka.events_topic, again, again.value() or b"")
    world.produce_enriched_again(25)
    found = {(f.place, f.kind, f.id): f.detail for f in watched.round().findings}
    assert found == {
        ("raw topic", "doubled", "25"): "it was there before",
        ("enriched", "doubled", "25"): "it was there before",
    }


def test_the_process_tells_its_findings_to_prometheus_and_to_health(world: LedgerWorld) -> None:
    """As a stage does; its first round looks at everything, so it finds what is not mended."""
    port = free_port()
    environment = {**world.environment(), "STAGE_STATUS_PORT": str(port), "PATH": "", "LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "engagement_stream.cli", "verify", "--watch", "--every", "1s"]
    with subprocess.Popen(
        [*command, "--data-dir", str(world.data_dir)],
        env=environment,
        cwd=world.data_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            wait_until(lambda: _state(port) == "degraded", 60.0, "the first round")
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            assert 'engagement_verify_missing_total{place="bigquery"} 1.0' in text
            assert 'engagement_verify_order_breaks_total{place="receiver"} 1.0' in text
            assert 'engagement_verify_rows_total{place="enriched"}' in text
            assert "engagement_verify_last_success_timestamp_seconds 0.0" in text
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert "order breaks: receiver" in process.stdout.read()


def _state(port: int) -> str:
    try:
        return decode_report(httpx.get(f"http://127.0.0.1:{port}/status").content).state
    except httpx.HTTPError:
        return ""


def test_a_place_that_is_away_costs_the_others_nothing(world: LedgerWorld) -> None:
    """What it missed is looked at once it is back."""
    watched = Watched(world)
    try:
        watched.round()
        world.receiver.stop()
        world.sql(ONE)
        blind = watched._watch.round(watched._state)
        assert [lost.place for lost in blind.unreadable] == ["receiver"]
        assert {place.name for place in blind.places} >= {"postgresql", "raw topic", "enriched", "bigquery", "redis"}
        world.receiver.start()
        assert watched.round().unreadable == []
    finally:
        watched.ledger.close()

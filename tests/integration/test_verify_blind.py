"""`verify --watch` while a place cannot be read: what it held then is compared once it can be read again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engagement_stream.observe.status import StageStatus
from engagement_stream.settings import BigQuerySettings
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.ports import free_port
from engagement_stream.verify.bigquery import NoTable, read_bigquery
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.report import Report
from engagement_stream.verify.state import State
from engagement_stream.verify.watch import Watch
from tests.fixtures.damage import Planted, damage_bigquery, damage_receiver
from tests.fixtures.ledger_world import EVENTS, STAGES, LedgerWorld, ledger_world
from tests.fixtures.stack import Servers, unique


@pytest.fixture
def world(stack_dir: Path, servers: Servers) -> Iterator[LedgerWorld]:
    """Every stage runs, and the first copy is over."""
    with ledger_world(stack_dir, *servers, redis_database=62) as world:
        world.start(*STAGES)
        world.await_streaming()
        yield world


class Watched:
    """A watch whose rounds are called one by one; for some of them BigQuery and the receiver cannot be read."""

    def __init__(self, world: LedgerWorld, ledger: Ledger) -> None:
        self._world, self._state = world, State(ledger)
        self._watch = Watch(world.settings, world.data_dir, StageStatus("verify"), lambda _line: None, every_s=60)

    def round(self) -> Report:
        return self._watch.round(self._state)

    def blind_round(self) -> Report:
        settings = self._world.settings
        readable = settings.bigquery
        settings.bigquery = readable.model_copy(update={"grpc_endpoint": f"127.0.0.1:{free_port()}"})
        self._world.receiver.stop()
        try:
            report = self.round()
        finally:
            settings.bigquery = readable
            self._world.receiver.start()
        assert {lost.place for lost in report.unreadable} == {"bigquery", "receiver"}
        assert {place.name for place in report.places} >= {"postgresql", "raw topic", "enriched", "redis"}
        return report


def deliver(world: LedgerWorld, events: int) -> list[int]:
    """So many events, everywhere; their ids."""
    ((before,),) = world.sql("select coalesce(max(id), 0) from engagement_events")
    world.sql(EVENTS, events)
    world.await_delivery()
    return list(range(int(str(before)) + 1, int(str(before)) + 1 + events))


@pytest.mark.parametrize("from_the_first_round", [False, True])
def test_what_a_place_held_while_it_could_not_be_read_is_compared_afterwards(
    world: LedgerWorld, from_the_first_round: bool
) -> None:
    """Defects of the events that came in a blind round, and no false ones of those that came before."""
    with Ledger() as ledger:
        watched = Watched(world, ledger)
        deliver(world, 30)
        if not from_the_first_round:
            assert watched.round().findings == []
        ids = deliver(world, 60)
        world.stop_all()
        planted = Planted()
        damage_bigquery(world, planted, [*ids[3:8], ids[16]])
        damage_receiver(world, planted, [*ids[20:24], ids[32]])
        assert watched.blind_round().findings == []
        seeing = watched.round()
        assert seeing.unreadable == []
        planted.assert_found(seeing)
        assert watched.round().findings == [], "what was told is not told again"


def test_a_table_that_is_not_there_yet_is_no_trouble(bigquery_server: BigQueryServer) -> None:
    """The sink makes it when it opens; until then every event is on its way to it."""
    settings = BigQuerySettings(
        project=bigquery_server.project,
        dataset=unique("ds_"),
        rest_endpoint=bigquery_server.rest_endpoint,
        grpc_endpoint=bigquery_server.grpc_endpoint,
    )
    with Ledger() as ledger, pytest.raises(NoTable):
        read_bigquery(settings, None, None, ledger, lambda _rows: None)

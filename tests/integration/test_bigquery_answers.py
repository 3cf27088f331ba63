"""What the BigQuery sink makes of answers that the real service gives: through a relay, the emulator keeps the rows."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.cloud.bigquery_storage_v1 import types

from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery import BigQuerySink
from engagement_stream.sinks.bigquery.lane import ALL_REFUSED_ROWS
from engagement_stream.stack.bigquery import BigQueryServer
from tests.contract.sink_contract import Worker, once, records
from tests.fixtures.bigquery import delivered, offsets
from tests.fixtures.bigquery_relay import Fault, Relay
from tests.fixtures.road import MemoryLog

Code = grpc.StatusCode
Storage: Any = types.StorageError.StorageErrorCode
"""Proto-plus enums look like plain numbers to the type checker."""


class World:
    """A case for `Worker` behind a relay."""

    def __init__(self, settings: BigQuerySettings, relay: Relay) -> None:
        self.settings, self.relay = settings, relay

    def make(self) -> BigQuerySink:
        return BigQuerySink(self.settings.model_copy(update={"grpc_endpoint": self.relay.endpoint}), answer_s=3.0)

    def delivered(self) -> Counter[int]:
        return delivered(self.settings)


@pytest.fixture
def world(bigquery_server: BigQueryServer, bigquery_settings: BigQuerySettings) -> Iterator[World]:
    """An empty dataset behind a relay."""
    relay = Relay(bigquery_server.grpc_endpoint)
    yield World(bigquery_settings, relay)
    relay.close()


@pytest.fixture
def log() -> MemoryLog:
    """Ten events in one partition."""
    log = MemoryLog()
    log.append(0, records(1, 10))
    return log


@pytest.fixture
def worker(world: World, log: MemoryLog) -> Iterator[Worker]:
    """Opened, with nothing written yet."""
    worker = Worker(world, log)  # type: ignore[arg-type]  # no proxy: the relay takes its place
    yield worker
    worker.sink.close()


@pytest.mark.parametrize("by", ["answer", "end"])
@pytest.mark.parametrize("acts", [False, True], ids=["lost", "arrived"])
@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.ABORTED, Code.INTERNAL, Code.RESOURCE_EXHAUSTED])
def test_what_passes_by_itself_is_sent_again_byte_for_byte(
    world: World, worker: Worker, code: grpc.StatusCode, acts: bool, by: str
) -> None:
    """At the same offset, so that it is there once whether it had arrived or not; no new stream is made for it."""
    world.relay.faults.append(Fault(code, by=by, acts=acts))  # type: ignore[arg-type]  # a Literal
    with pytest.raises(Retry):
        worker.offer()
    worker.deliver()
    first, second = world.relay.appends
    assert (first.stream, first.offset, first.data) == (second.stream, second.offset, second.data)
    assert world.delivered() == once(1, 10)


def test_more_records_meanwhile_do_not_change_what_is_sent_again(world: World, worker: Worker, log: MemoryLog) -> None:
    """They follow in a frame of their own."""
    world.relay.faults.append(Fault(Code.ABORTED, acts=True))
    with pytest.raises(Retry):
        worker.offer({0: 6})
    log.append(0, records(11, 15))
    worker.deliver()
    assert world.relay.appends[0].data == world.relay.appends[1].data
    assert [a.offset for a in world.relay.appends] == [0, 0, 6]
    assert world.delivered() == once(1, 15)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Code.NOT_FOUND),
        Fault(Code.FAILED_PRECONDITION, by="answer"),
        Fault(Code.INVALID_ARGUMENT, by="answer", detail=Storage.STREAM_FINALIZED),
        Fault(Code.INVALID_ARGUMENT, by="answer", detail=Storage.SCHEMA_MISMATCH_EXTRA_FIELDS),
        Fault(Code.UNKNOWN, acts=True),
        Fault(Code.OUT_OF_RANGE, by="answer"),
    ],
    ids=lambda fault: (fault.detail or fault.code).name,
)
def test_a_stream_that_takes_nothing_any_more_is_replaced(world: World, worker: Worker, fault: Fault) -> None:
    """By opening again: its row count tells where to go on."""
    world.relay.faults.append(fault)
    with pytest.raises(Reopen):
        worker.offer()
    worker.open()
    worker.deliver()
    assert len({append.stream for append in world.relay.appends}) == 2 - fault.acts
    assert world.delivered() == once(1, 10)


def test_already_exists_is_not_believed_of_what_was_never_sent(world: World, worker: Worker) -> None:
    """The answer compares positions, not rows: somebody else's rows may lie there."""
    world.relay.faults.append(Fault(Code.ALREADY_EXISTS, by="answer"))
    with pytest.raises(Reopen):
        worker.offer()
    worker.open()
    worker.deliver()
    assert world.delivered() == once(1, 10)


@pytest.mark.parametrize("named", [True, False])
def test_a_refused_row_leaves_a_placeholder_and_a_letter(
    world: World, worker: Worker, log: MemoryLog, named: bool
) -> None:
    """Whether the service says which row it means or not; the others are delivered, nothing shifts."""
    world.relay.refuses = lambda row: row["event_id"] in {3, 7} and not row["_dlq"]
    world.relay.names_rows = named
    worker.deliver()
    assert world.delivered() == once(1, 10) - Counter([3, 7])
    assert offsets(world.settings) == list(range(10))
    assert sorted(log.letters) == [b"bigquery/engagement-enriched/0/2", b"bigquery/engagement-enriched/0/6"]
    assert {letter.reason for letter in log.letters.values()} == {"refused"}
    assert log.letters[b"bigquery/engagement-enriched/0/2"].value == log.records[0][2][1]
    again = Worker(world, log)  # type: ignore[arg-type]  # as above
    assert again.positions == {0: log.ends[0]}
    again.sink.close()


def test_a_service_that_refuses_everything_is_not_fed_the_whole_log(world: World, log: MemoryLog) -> None:
    """Something is wrong with the table then, and a dead letter for each record would not mend it."""
    log.append(0, records(11, 2 * ALL_REFUSED_ROWS))
    world.relay.refuses = lambda row: not row["_dlq"]
    worker = Worker(world, log)  # type: ignore[arg-type]  # as above
    with pytest.raises(Retry, match="check the table"):
        worker.offer()
    assert not log.letters
    world.relay.refuses = lambda _row: False
    worker.deliver()
    worker.sink.close()
    assert world.delivered() == once(1, 2 * ALL_REFUSED_ROWS)


def test_a_refused_placeholder_halts_the_stage(world: World, worker: Worker) -> None:
    """There is no row left that could keep the count."""
    world.relay.refuses = lambda row: row["event_id"] == 3
    with pytest.raises(Fatal, match="even the placeholder"):
        worker.deliver()


def test_a_missing_right_is_waited_for(world: World, worker: Worker) -> None:
    """It says which right, and does not ask all the time."""
    world.relay.faults.append(Fault(Code.PERMISSION_DENIED))
    with pytest.raises(Retry, match="roles/bigquery") as told:
        worker.offer()
    assert told.value.after_s
    worker.deliver()
    assert world.delivered() == once(1, 10)


def test_one_partition_that_fails_does_not_hold_the_other_back(world: World) -> None:
    """What arrived is durable; only a second failure in a row makes the stage wait."""
    log = MemoryLog()
    for partition, first in ((0, 1), (1, 11)):
        log.append(partition, records(first, first + 9))
    worker = Worker(world, log, (0, 1))  # type: ignore[arg-type]  # as above
    world.relay.faults.append(Fault(Code.UNAVAILABLE, by="answer"))
    worker.offer()
    assert sorted(worker.positions.values()) == [0, log.ends[0]]
    worker.deliver()
    worker.sink.close()
    assert world.delivered() == once(1, 20)


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.NOT_FOUND])
def test_a_stream_that_cannot_be_finalized_leaves_the_word_to_the_table(
    world: World, worker: Worker, log: MemoryLog, code: grpc.StatusCode
) -> None:
    """The position comes from its greatest offset."""
    worker.offer({0: 4})
    worker.sink.close()
    log.checkpoints[0] = worker.log.checkpoints[0]
    world.relay.finalize_fails = code
    again = Worker(world, log)  # type: ignore[arg-type]  # as above
    assert again.positions == {0: 4}
    again.deliver()
    again.sink.close()
    assert world.delivered() == once(1, 10)


def test_a_finalizing_that_fails_for_now_is_waited_for(world: World, log: MemoryLog) -> None:
    """Without the fence nothing may be appended."""
    first = Worker(world, log)  # type: ignore[arg-type]  # as above
    first.offer({0: 4})
    first.sink.close()
    world.relay.finalize_fails = Code.UNAVAILABLE
    sink = world.make()
    with pytest.raises(Retry):
        sink.open((0,), log.road())
    world.relay.finalize_fails = None
    assert sink.open((0,), log.road()) == {0: 4}
    sink.close()

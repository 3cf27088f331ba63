"""The embedded servers keep their data, leave nothing behind, and get out of the way of others."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from engagement_stream.errors import ConfigurationError, Fatal
from engagement_stream.settings import Settings
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.part import Server
from engagement_stream.stack.ports import HOST, free_port
from engagement_stream.stack.postgres import PostgresServer
from engagement_stream.stack.status import status_of
from engagement_stream.stack.valkey import ValkeyServer
from engagement_stream.stack.world import World, supervisor_pid, wipe
from tests.fixtures.stack import unique
from tests.fixtures.waiting import wait_until


@pytest.fixture
def home(stack_dir: Path) -> Path:
    """An empty directory of the test's own."""
    folder = stack_dir / unique("w")
    folder.mkdir()
    folder.chmod(0o711)
    return folder


def _postgres(home: Path) -> Server:
    return PostgresServer(home / "postgres", free_port())


def _valkey(home: Path) -> Server:
    return ValkeyServer(home / "valkey", free_port())


def _kafka(home: Path) -> Server:
    return KafkaServer(home / "kafka", free_port())


def _bigquery(home: Path) -> Server:
    return BigQueryServer(home / "bigquery", free_port(), free_port())


def _add_one_and_count(server: Server) -> int:
    """Write one row, acknowledged, and say how many there are."""
    match server:
        case PostgresServer():
            with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
                connection.execute("create table if not exists kept (n int)")
                connection.execute("insert into kept values (1)")
                row = connection.execute("select count(*) from kept").fetchone()
                assert row is not None
                return int(row[0])
        case ValkeyServer():
            with redis.Redis.from_url(server.redis_url) as client:
                return int(client.incr("kept"))
        case KafkaServer():
            return _produce_and_count(server)
        case BigQueryServer():
            return _insert_and_count(server)
    raise AssertionError(server)


def _produce_and_count(server: KafkaServer) -> int:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    address = {"bootstrap.servers": server.bootstrap_servers}
    admin = AdminClient({**address})
    if "kept" not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(10)
    producer = Producer({**address, "acks": "all", "message.timeout.ms": 20_000})
    producer.produce("kept", b"x")
    assert producer.flush(20) == 0
    consumer = Consumer({**address, "group.id": "counter"})
    low, high = consumer.get_watermark_offsets(TopicPartition("kept", 0), timeout=10)
    consumer.close()
    return high - low


def _insert_and_count(server: BigQueryServer) -> int:
    with bigquery.Client(
        project=server.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # the library's
        client_options=ClientOptions(api_endpoint=server.rest_endpoint),
    ) as client:
        client.create_dataset("kept", exists_ok=True)
        client.query("create table if not exists kept.kept (n int64)").result()
        client.query("insert into kept.kept (n) values (1)").result()
        rows = list(client.query("select count(*) as n from kept.kept").result())
    return int(rows[0]["n"])


@pytest.mark.parametrize("make", [_postgres, _valkey, _kafka, _bigquery])
def test_data_survives_a_stop_and_a_kill(home: Path, make: Callable[[Path], Server]) -> None:
    """What a server acknowledged is there after an orderly stop, and after SIGKILL."""
    server = make(home)
    server.prepare()
    try:
        server.start()
        family = _family(server)
        assert _add_one_and_count(server) == 1
        server.stop()
        assert server.process.exit_code in {0, 143}, "it ended by itself, in order"  # 143: the JVM after SIGTERM
        _assert_gone(family)
        server.prepare()
        server.start()
        family = _family(server)
        assert _add_one_and_count(server) == 2
        server.kill()
        _assert_gone(family)
        server.start()
        assert _add_one_and_count(server) == 3
    finally:
        server.kill()


def _family(server: Server) -> list[psutil.Process]:
    process = psutil.Process(server.pid)
    return [process, *process.children(recursive=True)]


def _assert_gone(family: list[psutil.Process]) -> None:
    wait_until(lambda: all(_is_dead(process) for process in family), 10, "no process is left")


def _is_dead(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE  # init may reap it late
    except psutil.NoSuchProcess:
        return True


def test_another_broker_on_its_port_is_not_taken_for_kafka_itself(home: Path, kafka_server: KafkaServer) -> None:
    """Two that are started at the same time choose the same free port, and come to it seconds later."""
    late = KafkaServer(home / "kafka", kafka_server.port)
    late.prepare()
    assert kafka_server._answers()
    assert not late._answers()


def test_a_half_made_data_directory_is_made_again(home: Path) -> None:
    """The process died in the middle of initdb."""
    server = PostgresServer(home / "postgres", free_port(), fsync=False)
    (home / "postgres.new" / "base").mkdir(parents=True)
    (home / "postgres.new" / "PG_VERSION").write_text("18\n")
    server.prepare()
    server.start()
    try:
        assert _add_one_and_count(server) == 1
    finally:
        server.kill()


def test_a_frozen_server_is_stopped_too(home: Path) -> None:
    """SIGSTOP makes it deaf; stop() does not wait for ever."""
    server = _valkey(home)
    server.prepare()
    server.start()
    server.process.signal(signal.SIGSTOP)
    server.stop(5)
    assert not server.running


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    """The error carries the end of its log and what to do."""
    server = PostgresServer(home / "postgres", free_port(), fsync=False)
    server.prepare()
    (home / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(Fatal, match="no_such_setting") as raised:
        server.start()
    assert "wipe" in raised.value.remedy
    assert not server.running


def test_a_taken_port_is_refused_by_a_server_of_its_own(home: Path) -> None:
    """A part has one port; only the world may choose another."""
    with socket.create_server((HOST, 0)) as other:
        server = ValkeyServer(home / "valkey", other.getsockname()[1])
        server.prepare()
        with pytest.raises(ConfigurationError, match="taken"):
            server.start()


_UP = """
import sys, time
from pathlib import Path
from engagement_stream.settings import Settings
from engagement_stream.stack.world import World
world = World(Path(sys.argv[1]), only=sys.argv[2].split(","), settings=Settings.load())
world.up()
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def supervisor(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has a small world up."""
    child = subprocess.Popen(
        [sys.executable, "-c", _UP, str(home), "postgres,valkey,bigquery"],
        stdout=subprocess.PIPE,
        cwd=home,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    yield child
    child.kill()
    child.wait(10)
    child.stdout.close()


def test_nothing_is_left_when_the_supervisor_is_killed(home: Path, supervisor: subprocess.Popen[bytes]) -> None:
    """SIGKILL of the parent takes every server along; the next start goes on with the data."""
    family = psutil.Process(supervisor.pid).children(recursive=True)
    assert len(family) >= 3
    assert supervisor_pid(home) == supervisor.pid
    assert {part.name for part in status_of(home) if part.running} == {"postgres", "valkey", "bigquery"}
    supervisor.kill()
    supervisor.wait(10)
    _assert_gone(family)
    assert supervisor_pid(home) is None
    world = World(home, only=["postgres", "valkey", "bigquery"], settings=Settings.load())
    try:
        world.up()
        with psycopg.connect(world.environment()["DATABASE_URL"]) as connection:
            assert connection.execute("select count(*) from engagement_events").fetchone() == (0,)
    finally:
        world.stop()
    assert not any(part.running for part in status_of(home))


def test_ctrl_c_does_not_reach_the_servers(home: Path, supervisor: subprocess.Popen[bytes]) -> None:
    """The terminal's SIGINT goes to the supervisor's process group; the servers are in others."""
    for child in psutil.Process(supervisor.pid).children(recursive=True):
        assert os.getpgid(child.pid) != os.getpgid(supervisor.pid)


def test_a_second_world_over_the_same_data_is_refused(home: Path, supervisor: subprocess.Popen[bytes]) -> None:
    """It names the process that has it, and the first goes on untouched."""
    world = World(home, only=["valkey"], settings=Settings.load())
    with pytest.raises(ConfigurationError, match=str(supervisor.pid)):
        world.up()
    server = ValkeyServer(home / "valkey", free_port())
    with pytest.raises(ConfigurationError, match=str(supervisor.pid)):
        server.start()
    with pytest.raises(ConfigurationError, match=str(supervisor.pid)):
        wipe(home)
    assert sum(part.running for part in status_of(home)) == 3


def test_a_taken_port_is_replaced_said_and_remembered(home: Path) -> None:
    """Another program has the port; the second start uses the same substitute."""
    world = World(home, only=[], settings=Settings.load())
    with socket.create_server((HOST, 0)) as other:
        taken = int(other.getsockname()[1])
        chosen = world.port("valkey", taken)
        assert chosen != taken
        assert world.notes == [f"valkey listens on port {chosen}: {taken} was taken"]
    again = World(home, only=[], settings=Settings.load())
    assert again.port("valkey", taken) == chosen


def test_a_part_that_fails_takes_the_others_down(home: Path) -> None:
    """up() is all or nothing."""
    (home / "postgres").mkdir()  # not a data directory
    world = World(home, only=["postgres", "valkey"], settings=Settings.load())
    with pytest.raises(Fatal, match="postgres"):
        world.up()
    assert not any(part.running for part in world.parts.values())
    assert supervisor_pid(home) is None


def test_wiping_removes_only_what_is_the_worlds(home: Path) -> None:
    """A file of the person's own stays."""
    world = World(home, only=["valkey"], settings=Settings.load())
    world.up()
    world.stop()
    (home / "mine.txt").write_text("keep")
    wipe(home)
    assert [path.name for path in home.iterdir()] == ["mine.txt"]

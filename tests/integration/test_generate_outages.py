"""The generator and a database that goes away, lies frozen, or whose answers get lost."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from engagement_stream import generate
from engagement_stream.errors import Fatal
from engagement_stream.stack.ports import free_port
from engagement_stream.stack.postgres import PostgresServer
from tests.fixtures.stack import running, unique
from tests.fixtures.waiting import wait_until

SCHEMA = Path(__file__).parents[2] / "sql" / "init.sql"


@pytest.fixture
def own_server(stack_dir: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL to kill."""
    with running(PostgresServer(stack_dir / unique("generate"), free_port())) as server:
        server.create_database(server.database, schema=SCHEMA.read_text())
        yield server


def _rows(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        (rows,) = connection.execute("select count(*) from engagement_events").fetchone() or (-1,)
    return int(rows)


@contextmanager
def _proxy(database_url: str, *, commits_reach_the_server: bool, break_at: int) -> Iterator[str]:
    """A way to the server that breaks at COMMIT number `break_at`: before it, or after it and before its answer."""
    target = conninfo_to_dict(database_url)
    listener = socket.create_server(("127.0.0.1", 0))
    commits = 0
    threads: list[threading.Thread] = []

    def serve(client: socket.socket) -> None:
        nonlocal commits
        server = socket.create_connection((str(target["host"]), int(str(target["port"]))))
        silent = threading.Event()

        def back() -> None:
            with server:
                while data := server.recv(65_536):
                    if silent.is_set():  # the answer to the COMMIT: it happened, and nobody hears of it
                        break
                    client.sendall(data)
                client.shutdown(socket.SHUT_RDWR)

        threads.append(threading.Thread(target=_quietly, args=(back,)))
        threads[-1].start()
        while data := client.recv(65_536):
            if data[:1] == b"Q" and b"commit" in data:
                commits += 1
                if commits == break_at:
                    silent.set()
                    if not commits_reach_the_server:
                        break
            server.sendall(data)
        server.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threads.append(threading.Thread(target=_quietly, args=(serve, client)))
            threads[-1].start()

    accepting = threading.Thread(target=_quietly, args=(accept,))
    accepting.start()
    try:
        yield make_conninfo(database_url, host="127.0.0.1", port=listener.getsockname()[1])
        assert commits > break_at, "the way was to break in the middle"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [accepting, *threads]:
            thread.join(10)


def _quietly(work: object, *arguments: object) -> None:
    try:
        work(*arguments)  # type: ignore[operator]  # a function of this file
    except OSError:
        pass  # the other end is gone: so is this way
    finally:
        for end in arguments:
            if isinstance(end, socket.socket):
                end.close()


def test_a_lost_answer_does_not_double_a_row(database_url: str) -> None:
    """The COMMIT happened and its answer did not come: the server is asked, and the block is not sent again."""
    with _proxy(database_url, commits_reach_the_server=True, break_at=2) as way:
        assert generate.batch(way, 35_000).rows == 35_000
    assert _rows(database_url) == 35_000


def test_a_commit_that_never_arrived_is_made_good(database_url: str) -> None:
    """The same break a moment earlier: the block is sent again."""
    with _proxy(database_url, commits_reach_the_server=False, break_at=2) as way:
        assert generate.batch(way, 35_000).rows == 35_000
    assert _rows(database_url) == 35_000


KILLED_AT = {"generate.before_copy": 10_000, "generate.before_commit": 10_000, "generate.after_commit": 20_000}
"""Crash point -> rows that are there afterwards."""


@pytest.mark.parametrize(("crash_at", "rows"), KILLED_AT.items())
def test_a_killed_batch_leaves_whole_transactions(database_url: str, crash_at: str, rows: int) -> None:
    """SIGKILL in its second block: the block is there as a whole or not at all."""
    done = subprocess.run(
        [sys.executable, "-c", f"from engagement_stream import generate; generate.batch({database_url!r}, 30_000)"],
        env={**os.environ, "ENGAGEMENT_CRASH_AT": f"{crash_at}:2"},
        timeout=60,
    )
    assert done.returncode == -SIGKILL
    assert _rows(database_url) == rows


def test_a_batch_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there: it ends, and says what to do."""
    monkeypatch.setattr("engagement_stream.generate.modes._PATIENCE_S", 0.3)
    reports: list[generate.Report] = []
    with pytest.raises(Fatal, match="could not be reached") as refused:
        generate.batch(f"postgresql://me:hidden@127.0.0.1:{free_port()}/nothing", 5, reports.append)
    assert "DATABASE_URL" in refused.value.remedy
    assert "hidden" not in str(refused.value)
    assert [bool(told.waiting_for) for told in reports] == [True]


def test_an_outage_is_told_once_and_its_events_come_late(own_server: PostgresServer) -> None:
    """Open loop: after the server's crash and return every event of the schedule is there."""
    url, stop = own_server.database_url, threading.Event()
    reports: list[generate.Report] = []
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(generate.continuous, url, 300.0, stop, reports.append, content_changes_per_min=0)
        try:
            wait_until(lambda: _rows(url) > 100, 20, "traffic before the crash")
            own_server.kill()
            wait_until(lambda: reports and reports[-1].waiting_for, 20, "the generator to notice")
            before = reports[-1].rows
            own_server.start()
            wait_until(lambda: reports[-1].rows > before + 600 and reports[-1].behind_s < 1, 30, "the arrears")
        finally:
            stop.set()
        report = run.result(20)
    assert report.rows == _rows(url)
    assert abs(report.rows - report.elapsed_s * 300) < 300
    assert len([told for told in reports if told.waiting_for]) == 1


def test_it_waits_for_a_database_that_is_not_there_yet_and_can_be_stopped(own_server: PostgresServer) -> None:
    """The supervisor may start it first; Ctrl-C is obeyed at once."""
    url, stop = own_server.database_url, threading.Event()
    own_server.stop()
    reports: list[generate.Report] = []
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(generate.continuous, url, 50.0, stop, reports.append)
        wait_until(lambda: reports and reports[-1].waiting_for, 20, "the generator to notice")
        stop.set()
        assert run.result(5).rows == 0
    assert "postgres:postgres" not in str(reports[-1])


def test_a_frozen_server_does_not_keep_it_from_ending(own_server: PostgresServer) -> None:
    """It accepts and never answers: after a grace the connection is broken off."""
    url, stop = own_server.database_url, threading.Event()
    told_at_s: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(generate.continuous, url, 100.0, stop, lambda _: told_at_s.append(time.monotonic()))
        wait_until(lambda: told_at_s, 20, "traffic")
        backend = _generators_backend(url)
        backend.send_signal(SIGSTOP)
        try:
            wait_until(
                lambda: time.monotonic() - told_at_s[-1] > 2, 20, "the generator to hang"
            )  # it tells every second
            stop.set()
            assert run.result(20).rows > 0
        finally:
            backend.send_signal(SIGCONT)


def _generators_backend(database_url: str) -> psutil.Process:
    with psycopg.connect(database_url) as connection:
        (pid,) = connection.execute(
            "select pid from pg_stat_activity where application_name = 'engagement-generator'"
        ).fetchone() or (0,)
    return psutil.Process(pid)

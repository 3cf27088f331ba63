"""The supervisor: what dies is started again, what is told to stop stops in order, nothing is left."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from engagement_stream.errors import ConfigurationError
from engagement_stream.pipeline.lock import exclusive, running
from engagement_stream.pipeline.programs import free_port
from engagement_stream.pipeline.supervisor import Program, Supervisor
from tests.fixtures.waiting import wait_until

# No broker there: the stage waits, which is all these tests need of it.
_NO_KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "LOG_FORMAT": "json"}


def _stage(name: str, log: Path) -> Program:
    return Program(name, ["stage", name], {**_NO_KAFKA, "STAGE_STATUS_PORT": str(free_port())}, log)


@contextmanager
def _watched(programs: list[Program]) -> Iterator[tuple[Supervisor, list[str]]]:
    told: list[str] = []
    supervisor, stop = Supervisor(programs, told.append), threading.Event()
    supervisor.start()
    watcher = threading.Thread(target=supervisor.watch, args=(stop,))
    watcher.start()
    try:
        yield supervisor, told
    finally:
        stop.set()
        watcher.join()
        supervisor.stop(grace_s=15.0)


def test_a_killed_stage_is_started_again_and_said_so(tmp_path: Path) -> None:
    """SIGKILL is what a kernel out of memory does."""
    with _watched([_stage("enrich", tmp_path / "log")]) as (supervisor, told):
        pid = supervisor.pids()["enrich"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: supervisor.pids().get("enrich") not in {None, pid}, 20.0, "a new process")
    assert "SIGKILL" in told[0]
    assert told[0].startswith("enrich")


def test_stopping_leaves_no_process(tmp_path: Path) -> None:
    """All of them end by themselves when told to."""
    programs = [_stage(name, tmp_path / name) for name in ("enrich", "redis")]
    with _watched(programs) as (supervisor, told):
        family = [psutil.Process(pid) for pid in supervisor.pids().values()]
        wait_until(
            lambda: all("state changed" in (tmp_path / n).read_text() for n in ("enrich", "redis")), 20.0, "both"
        )
    assert not any(member.is_running() for member in family)
    assert told == []


def test_a_successor_takes_the_place_of_a_process_that_lives_on(tmp_path: Path) -> None:
    """As when a host is cut off: the former one is left to itself, the new one is looked after."""
    with _watched([_stage("enrich", tmp_path / "log")]) as (supervisor, _):
        pid = supervisor.pids()["enrich"]
        former = supervisor.succeed(_stage("enrich", tmp_path / "log"))
        assert former is not None
        wait_until(lambda: supervisor.pids().get("enrich") not in {None, pid}, 20.0, "the successor")
        assert (former.pid, former.poll()) == (pid, None)
        former.kill()
        former.wait()


def test_programs_come_and_go_while_others_run(tmp_path: Path) -> None:
    """One more worker, one less; who is gone is not started again."""
    with _watched([_stage("enrich", tmp_path / "log")]) as (supervisor, _):
        before = supervisor.pids()["enrich"]
        supervisor.add(_stage("redis", tmp_path / "redis"))
        wait_until(lambda: "redis" in supervisor.pids(), 20.0, "the new one")
        family = psutil.Process(supervisor.pids()["redis"])
        supervisor.remove("redis")
        assert not family.is_running()
        assert supervisor.pids() == {"enrich": before}


def test_stages_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    """However the supervisor dies, nothing goes on without it."""
    code = (
        "import sys, time, pathlib\n"
        "from engagement_stream.pipeline.supervisor import Program, Supervisor\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        f"s = Supervisor([Program('enrich', ['stage', 'enrich'], {_NO_KAFKA!r}, log)], print)\n"
        "s.start()\nprint(s.pids()['enrich'], flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    wait_until(lambda: "state changed" in (tmp_path / "log").read_text(), 20.0, "the stage to run")
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 20.0, "the stage to end")


def test_a_second_pipeline_in_the_same_place_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """Two of them would fence each other for ever."""
    with (
        exclusive(tmp_path, "up") as announcement,
        pytest.raises(ConfigurationError, match=str(os.getpid())),
        exclusive(tmp_path, "up"),
    ):
        announcement.make("up", {})
    assert running(tmp_path) is None


def test_other_commands_learn_where_the_servers_are(tmp_path: Path) -> None:
    """The announcement lives as long as its process, and only its owner may read it."""
    assert running(tmp_path) is None
    with exclusive(tmp_path, "up") as announcement:
        announcement.make("up", {"REDIS_URL": "redis://localhost:1"})
        holder = running(tmp_path)
        assert holder is not None
        assert holder["environment"] == {"REDIS_URL": "redis://localhost:1"}
        assert (tmp_path / "run" / "supervisor.json").stat().st_mode & 0o077 == 0
    assert running(tmp_path) is None


def test_a_halted_stage_stays_and_shows_its_remedy(tmp_path: Path) -> None:
    """Restarting would only find the same again; a person is needed, and is told what to do."""
    import httpx

    port = free_port()
    environment = {
        **os.environ,
        **_NO_KAFKA,
        "STAGE_STATUS_PORT": str(port),
    }
    code = (
        "from engagement_stream.errors import Fatal\n"
        "from engagement_stream.pipeline import process\n"
        "from engagement_stream.settings import Settings\n"
        "class Broken:\n"
        "    def run(self, stop):\n"
        "        raise Fatal('the slot is gone', remedy='make it again')\n"
        "process.build_stage = lambda *_: Broken()\n"
        "raise SystemExit(process.run_stage('capture', Settings.load()))\n"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=log)

    def report() -> dict[str, object] | None:
        try:
            found: dict[str, object] = httpx.get(f"http://127.0.0.1:{port}/status", timeout=2.0).json()
        except httpx.HTTPError:
            return None
        return found if found["state"] == "halted" else None

    found = wait_until(report, 20.0, "the stage to be halted")
    assert found is not None
    assert (found["reason"], found["remedy"]) == ("the slot is gone", "make it again")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10.0) == 0

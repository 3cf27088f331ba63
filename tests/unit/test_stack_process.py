"""A server process: its bounded log, its record, its leftovers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engagement_stream.errors import ConfigurationError, Fatal
from engagement_stream.stack.process import LOG_LIMIT_BYTES, Command, ServerProcess, base_environment, bound_log
from tests.fixtures.waiting import wait_until

_SLEEP = [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(600)"]
_DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('hello', flush=True); time.sleep(600)",
]


def _process(home: Path) -> ServerProcess:
    return ServerProcess("sleeper", home=home, log=home / "log.txt", record=home / "record.json")


def _heard(process: ServerProcess) -> None:
    wait_until(lambda: "hello" in process.tail(), 10, "the child has started")


def test_a_long_log_keeps_its_end(tmp_path: Path) -> None:
    """And only that."""
    log = tmp_path / "log"
    log.write_bytes(b"old\n" * (LOG_LIMIT_BYTES // 4) + b"newest line\n")
    bound_log(log, keep_bytes=1000)
    assert log.stat().st_size == 1000
    assert log.read_bytes().endswith(b"newest line\n")


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    """Nothing to cut."""
    log = tmp_path / "log"
    log.write_bytes(b"line\n")
    bound_log(log, keep_bytes=1)
    assert log.read_bytes() == b"line\n"


def test_no_secret_of_ours_reaches_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server gets a short list of variables, not our environment."""
    monkeypatch.setenv("EXTERNAL_API_TOKEN", "secret")
    monkeypatch.setenv("PGPORT", "1")
    assert not {"EXTERNAL_API_TOKEN", "PGPORT"} & base_environment().keys()


def test_a_deaf_process_is_ended_by_force(tmp_path: Path) -> None:
    """stop() keeps its time limit."""
    process = _process(tmp_path)
    process.start(Command(_DEAF, cwd=tmp_path, env=base_environment()))
    _heard(process)
    process.stop(0.2)
    assert process.exit_code == -signal.SIGKILL
    assert not (tmp_path / "record.json").exists()


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The launcher's complaint is in the log; a missing directory is an error at once."""
    process = _process(tmp_path)
    with pytest.raises(Fatal, match="could not be started"):
        process.start(Command(_SLEEP, cwd=tmp_path / "missing"))
    process.start(Command(["/no/such/program"], cwd=tmp_path, env=base_environment()))
    assert process.wait(10)
    assert "/no/such/program" in process.tail() or "FileNotFoundError" in process.tail()


def _orphan(tmp_path: Path, owner_started: float) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(_SLEEP, stdout=subprocess.DEVNULL, start_new_session=True)
    entry = {
        "pid": child.pid,
        "started": psutil.Process(child.pid).create_time(),
        "ports": [],
        "owner": os.getppid(),
        "owner_started": owner_started,
    }
    (tmp_path / "record.json").write_text(json.dumps(entry))
    return child


def test_a_leftover_of_a_dead_owner_is_ended(tmp_path: Path) -> None:
    """The owner's pid may meanwhile belong to somebody else: its start time tells."""
    with _orphan(tmp_path, owner_started=1.0) as child:
        _process(tmp_path).remove_leftover()
        assert child.wait(10) == -signal.SIGKILL


def test_the_server_of_a_living_owner_is_left_alone(tmp_path: Path) -> None:
    """Two runs over the same data: the second is refused, the first goes on."""
    with _orphan(tmp_path, owner_started=psutil.Process(os.getppid()).create_time()) as child:
        with pytest.raises(ConfigurationError, match=str(os.getppid())):
            _process(tmp_path).remove_leftover()
        assert child.poll() is None
        child.kill()


def test_a_stranger_with_a_reused_pid_is_left_alone(tmp_path: Path) -> None:
    """Same pid, other start time: not ours."""
    with _orphan(tmp_path, owner_started=1.0) as child:
        record = tmp_path / "record.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"started": 5.0}))
        _process(tmp_path).remove_leftover()
        assert child.poll() is None
        assert not record.exists()
        child.kill()

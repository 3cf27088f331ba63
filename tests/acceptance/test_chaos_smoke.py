"""`engagement chaos` as a user would run it: kills under load and every row compared, Ctrl-C, and losses that halt."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.acceptance.commands import ROOT, STAGES, all_gone
from tests.fixtures.stack import unique
from tests.fixtures.waiting import wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

_KILLS = 40
_KILLED = re.compile(r"(capture|enrich|redis|bigquery|http) (\d+)")


@pytest.fixture
def data_dir(stack_dir: Path) -> Path:
    """A place for the servers' data, open for PostgreSQL's own user to pass through."""
    place = stack_dir / unique("chaos")
    place.mkdir(mode=0o755)
    return place


@contextmanager
def _chaos(*arguments: str, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """The command; whatever of it is left at the end is killed."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "engagement_stream.cli", "chaos", *arguments],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:1/somebody_elses"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for member in reversed(family):
                member.kill()
            process.wait()


@pytest.mark.parametrize("seed", [1])
def test_no_event_is_lost_or_doubled_by_kills_at_random_and_at_named_steps(
    seed: int, data_dir: Path, tmp_path: Path
) -> None:
    """At least 40 kills over all stages; 0 missing, doubled, wrong or out of order; foreign servers are left alone."""
    report, log = tmp_path / "report.md", tmp_path / "log"
    command = ("--seed", str(seed), "--duration", "45s", "--rate", "60", "--profile", "smoke")
    with _chaos(*command, "--report", str(report), "--data-dir", str(data_dir), log=log) as process:
        assert process.wait(800) == 0, log.read_text()[-8_000:]
    text = report.read_text()
    assert "0 missing, 0 doubled, 0 wrong, 0 order breaks, 0 still on their way" in text
    (told,) = [line for line in text.splitlines() if line.startswith("Kills of stages:")]
    kills = {stage: int(count) for stage, count in _KILLED.findall(told)}
    assert set(kills) == set(STAGES)
    assert sum(kills.values()) >= _KILLS, told


def test_an_interrupted_run_leaves_no_process(data_dir: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a fault: frozen, killed and healthy processes are all gone."""
    log = tmp_path / "log"
    with _chaos("--seed", "1", "--duration", "10m", "--data-dir", str(data_dir), log=log) as process:
        wait_until((data_dir / "logs" / "generator.log").exists, 240.0, "the load to begin")
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130, log.read_text()[-8_000:]
    assert len(family) > len(STAGES)
    assert all_gone(family) == []


def test_losses_that_cannot_be_made_good_end_in_a_loud_stop(data_dir: Path, tmp_path: Path) -> None:
    """A trimmed topic, a dropped slot, a slot made anew, a Redis that forgot: each stage halts and says what to do."""
    log = tmp_path / "log"
    with _chaos("--halting", "--data-dir", str(data_dir), log=log) as process:
        assert process.wait(600) == 0, log.read_text()[-8_000:]
    text = log.read_text()
    for stage in STAGES:
        assert f"{stage} halts: " in text
    assert text.count("remedy: ") >= len(STAGES) + 1

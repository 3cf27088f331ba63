"""The command line: help worth reading, errors in one sentence, the mission's doors."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engagement_stream.bench.quantile import added, quantile_s
from engagement_stream.cli.app import app

ROOT = Path(__file__).parents[2]
VERBS = (
    "up", "down", "status", "stream", "backfill", "stage", "api", "generate", "verify", "chaos", "bench", "config",
    "doctor", "reference",
)  # fmt: skip


def _python(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_verb_is_explained() -> None:
    """`engagement --help` names each verb with a sentence."""
    text = CliRunner().invoke(app, ["--help"]).output
    for verb in VERBS:
        assert verb in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    """And each verb explains itself."""
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert len(result.output) > 100


def test_a_wrong_setting_is_one_sentence_not_a_trace() -> None:
    """Exit code 2, the variable's name, what is allowed."""
    done = _python("-m", "engagement_stream.cli", "config", "show", BATCH_SIZE="none")
    assert done.returncode == 2
    assert "BATCH_SIZE" in done.stderr
    assert "Traceback" not in done.stderr


def test_secrets_stay_hidden_in_the_present_values() -> None:
    """`engagement config show` may be pasted into a ticket."""
    done = _python("-m", "engagement_stream.cli", "config", "show", DATABASE_URL="postgresql://u:hunter2@h/d")
    assert done.returncode == 0
    assert "hunter2" not in done.stdout
    assert "KAFKA_PARTITIONS=4" in done.stdout


def test_backfill_refuses_a_bad_range_in_one_sentence() -> None:
    """The mission's command, with the mission's flags."""
    arguments = ("--mode", "backfill", "--start-date", "2025-08-10", "--end-date", "2025-08-01")
    done = _python("-m", "src.stream_processor", *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--end-date 2025-08-01 lies before --start-date 2025-08-10" in done.stderr


@pytest.mark.parametrize("door", ["src.stream_processor", "src.data_generator"])
def test_the_doors_explain_themselves(door: str) -> None:
    """`--help` of the mission's two commands."""
    done = _python("-m", door, "--help")
    assert done.returncode == 0
    assert "--mode" in done.stdout


def test_status_says_that_nothing_runs(tmp_path: Path) -> None:
    """Exit code 3 and how to start it."""
    result = CliRunner().invoke(app, ["status", "--data-dir", str(tmp_path)])
    assert result.exit_code == 3
    assert "./start.sh" in result.output


def test_quantiles_are_linear_within_a_bucket() -> None:
    """As Prometheus computes them, so that the figures can be compared with a dashboard's."""
    before = {0.1: 5.0, 1.0: 5.0, float("inf"): 5.0}
    after = {0.1: 55.0, 1.0: 105.0, float("inf"): 105.0}
    gained = added(before, after)
    assert gained == {0.1: 50.0, 1.0: 100.0, float("inf"): 100.0}
    assert quantile_s(gained, 0.5) == pytest.approx(0.1)
    assert quantile_s(gained, 0.75) == pytest.approx(0.55)

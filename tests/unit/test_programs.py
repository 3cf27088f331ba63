"""Which processes run beside the stages."""

from pathlib import Path

import pytest

from engagement_stream.pipeline.programs import verify_program
from engagement_stream.settings import Settings, VerifySettings

_OURS = dict.fromkeys(("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "BIGQUERY_REST_ENDPOINT"), "x")
_WITH_ANOTHER_SOURCE = {name: value for name, value in _OURS.items() if name != "DATABASE_URL"}


@pytest.mark.parametrize(
    ("every_s", "started", "runs"),
    [
        (None, _OURS, True),
        (None, _WITH_ANOTHER_SOURCE, False),
        (None, {}, False),
        (30.0, {}, True),
        (0.0, _OURS, False),
    ],
)
def test_the_ledger_looks_at_foreign_servers_only_when_asked_to(
    every_s: float | None, started: dict[str, str], *, runs: bool, tmp_path: Path
) -> None:
    """Its first round reads all there is, which costs its owner something; our own servers are for trying out."""
    settings = Settings.load()
    settings.verify = VerifySettings(every_s=every_s)
    programs, endpoint = verify_program(settings, tmp_path, tmp_path, started)
    assert [program.name for program in programs] == ["verify"] * runs
    assert bool(endpoint) == runs

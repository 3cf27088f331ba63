"""What a person has configured elsewhere is not started here."""

from pathlib import Path

import pytest

from engagement_stream.settings import Settings
from engagement_stream.stack.outside import configured_outside


def _nobody(_host: str, _port: int) -> bool:
    return False


def _somebody(_host: str, _port: int) -> bool:
    return True


def test_without_any_setting_everything_is_embedded() -> None:
    """Even when strangers listen on the usual ports."""
    assert configured_outside(Settings.load(), _somebody) == {}


@pytest.mark.parametrize(
    ("variable", "value", "part", "place"),
    [
        ("DATABASE_URL", "postgresql://me:secret@db.example:5433/x", "postgres", "db.example:5433"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a.example:9092,b.example:9092", "kafka", "a.example:9092,b.example:9092"),
        ("REDIS_URL", "rediss://:secret@cache.example/0", "valkey", "cache.example"),
        ("BIGQUERY_PROJECT_ID", "my-project", "bigquery", "project my-project (application default credentials)"),
        ("BIGQUERY_REST_ENDPOINT", "http://127.0.0.1:9", "bigquery", "http://127.0.0.1:9"),
    ],
)
def test_a_server_of_ones_own_replaces_its_part(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, part: str, place: str
) -> None:
    """And is named without its password."""
    monkeypatch.setenv(variable, value)
    assert configured_outside(Settings.load(), _nobody) == {part: place}


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("DATABASE_URL", "postgresql://postgres:postgres@localhost:5432/engagement_db", "postgres"),
        ("DATABASE_URL", "postgresql://postgres:postgres@127.0.0.1/engagement_db", "postgres"),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092", "kafka"),
        ("REDIS_URL", "redis://localhost:6379", "valkey"),
    ],
)
def test_the_usual_address_is_somebodys_own_only_when_one_listens_there(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, part: str
) -> None:
    """`cp .env.example .env` must not switch the embedded stack off."""
    monkeypatch.setenv(variable, value)
    assert configured_outside(Settings.load(), _nobody) == {}
    assert list(configured_outside(Settings.load(), _somebody)) == [part]


def test_a_credentials_file_means_the_real_bigquery(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The mission's place for it is config/bigquery-credentials.json."""
    key = tmp_path / "key.json"
    key.write_text("{}")
    monkeypatch.setenv("BIGQUERY_CREDENTIALS", str(key))
    assert list(configured_outside(Settings.load(), _nobody)) == ["bigquery"]

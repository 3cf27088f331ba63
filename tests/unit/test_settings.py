"""Settings: the mission's names work, wrong values are named all at once, secrets stay hidden."""

from pathlib import Path

import pytest

from engagement_stream.cli.config import env_example
from engagement_stream.errors import ConfigurationError
from engagement_stream.settings import Settings

MISSION = {
    "DATABASE_URL": "postgresql://postgres:hunter2@db:5432/engagement_db",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "KAFKA_TOPIC_ENGAGEMENT_EVENTS": "events",
    "REDIS_URL": "redis://:hunter2@cache:6379",
    "REDIS_AGGREGATION_WINDOW_MINUTES": "15",
    "BIGQUERY_PROJECT_ID": "my-project",
    "BIGQUERY_DATASET_ID": "analytics",
    "BATCH_SIZE": "50",
    "PROCESSING_INTERVAL_SECONDS": "2",
    "ENABLE_EXACTLY_ONCE": "false",
}


def test_every_environment_name_of_the_mission_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mission's variables reach the room they are meant for."""
    for name, value in MISSION.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.postgres.database_url.get_secret_value() == MISSION["DATABASE_URL"]
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.kafka.events_topic == "events"
    assert settings.redis.window_minutes == 15
    assert (settings.bigquery.project, settings.bigquery.dataset) == ("my-project", "analytics")
    assert settings.http.batch_size == 50
    assert settings.bigquery.interval_s == 2
    assert settings.kafka.exactly_once is False


def test_all_wrong_values_are_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person sees every wrong variable at once, and what is allowed."""
    monkeypatch.setenv("BATCH_SIZE", "0")
    monkeypatch.setenv("DATABASE_URL", "mysql://nope")
    monkeypatch.setenv("KAFKA_PARTITIONS", "many")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    message = str(caught.value)
    assert "BATCH_SIZE" in message
    assert "greater than or equal to 1" in message
    assert "DATABASE_URL" in message
    assert "postgresql://" in message
    assert "KAFKA_PARTITIONS" in message


def test_a_wrong_secret_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an error nor a repr shows a password."""
    monkeypatch.setenv("DATABASE_URL", "mysql://user:hunter2@db/x")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("DATABASE_URL", MISSION["DATABASE_URL"])
    monkeypatch.setenv("REDIS_URL", MISSION["REDIS_URL"])
    settings = Settings.load()
    assert "hunter2" not in repr(settings.postgres) + repr(settings.redis)


def test_the_example_file_is_what_the_settings_say() -> None:
    """`.env.example` is generated: engagement config example > .env.example."""
    root = Path(__file__).parents[2]
    assert (root / ".env.example").read_text() == env_example()


def test_a_copied_example_file_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cp .env.example .env` gives the defaults, also with every line uncommented."""
    monkeypatch.chdir(tmp_path)
    defaults = Settings.load()
    lines = [line.removeprefix("# ") for line in env_example().splitlines() if "=" in line and line.startswith("# ")]
    variables = [line for line in lines if line.split("=", 1)[0].isupper()]
    (tmp_path / ".env").write_text("\n".join(variables))
    assert len(variables) > 30
    copied = Settings.load()
    assert copied.kafka == defaults.kafka
    assert copied.http == defaults.http
    assert copied.bigquery == defaults.bigquery

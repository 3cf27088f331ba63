"""Which parts of the world a person has configured elsewhere, and so are not started here."""

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from engagement_stream.settings import BigQuerySettings, KafkaSettings, PostgresSettings, RedisSettings, Settings

Listening = Callable[[str, int], bool]


def listening(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def configured_outside(settings: Settings, listening: Listening = listening) -> dict[str, str]:
    """Name of the part -> where it is instead.

    A copied `.env.example` names the usual addresses on this machine. Those count as somebody's own server only
    when one listens there; otherwise they are what the embedded part would have had anyway.
    """
    found: dict[str, str] = {}
    database = settings.postgres.database_url.get_secret_value()
    if _set(settings.postgres, "database_url") and _own(
        database, PostgresSettings.model_fields["database_url"].default.get_secret_value(), 5432, listening
    ):
        found["postgres"] = _place(database)
    brokers = settings.kafka.bootstrap_servers
    if _set(settings.kafka, "bootstrap_servers") and _own(
        f"kafka://{brokers}", f"kafka://{KafkaSettings.model_fields['bootstrap_servers'].default}", 9092, listening
    ):
        found["kafka"] = brokers
    redis = settings.redis.url.get_secret_value()
    if _set(settings.redis, "url") and _own(
        redis, RedisSettings.model_fields["url"].default.get_secret_value(), 6379, listening
    ):
        found["valkey"] = _place(redis)
    if where := _bigquery_outside(settings.bigquery):
        found["bigquery"] = where
    return found


def _set(room: object, field: str) -> bool:
    return field in getattr(room, "model_fields_set", ())


def _own(value: str, default: str, port: int, listening: Listening) -> bool:
    if _address(value, port) != _address(default, port):
        return True
    return listening("localhost", port)


def _address(url: str, port: int) -> tuple[str, int]:
    if "," in url:  # several brokers: never the default
        return url, 0
    parts = urlsplit(url)
    host = parts.hostname or parts.path
    return ("localhost" if host in {"127.0.0.1", "::1"} else host), parts.port or port


def _place(url: str) -> str:
    """Host and port, without the password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else (parts.hostname or parts.path)


def _bigquery_outside(room: BigQuerySettings) -> str | None:
    if room.rest_endpoint:
        return room.rest_endpoint
    if room.credentials.is_file():
        return f"project {room.project} (key in {room.credentials})"
    if _set(room, "project") and room.project != BigQuerySettings.model_fields["project"].default:
        return f"project {room.project} (application default credentials)"
    return None

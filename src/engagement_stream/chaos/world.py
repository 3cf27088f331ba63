"""The servers of a chaos run, each with a proxy in front of it, in a directory and on ports of their own."""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from engagement_stream.chaos.proxy import Proxy
from engagement_stream.errors import ConfigurationError, EngagementError
from engagement_stream.settings import Settings
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.part import Report, Server, silent
from engagement_stream.stack.ports import HOST, free_port
from engagement_stream.stack.postgres import PostgresServer
from engagement_stream.stack.receiver import ReceiverServer
from engagement_stream.stack.valkey import ValkeyServer
from engagement_stream.stack.world import source_schema

_STARTS = 3
"""How often a server is started before it counts as dead: on a busy machine the first try may take too long."""


_BETWEEN_STARTS_S = 2.0


class Interrupted(Exception):
    """A person pressed Ctrl-C: everything was stopped, nothing was verified."""


class ChaosWorld:
    """Stages reach the servers through `proxies` (`environment`), the judge reaches them directly (`settings`)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        ports = _distinct_ports()
        kafka_listener = next(ports)
        kafka_proxy = Proxy(kafka_listener, next(ports))
        self.postgres = PostgresServer(directory / "postgres", next(ports))
        self.kafka = KafkaServer(directory / "kafka", next(ports), proxied=(kafka_listener, kafka_proxy.port))
        self.valkey = ValkeyServer(directory / "valkey", next(ports))
        self.bigquery = BigQueryServer(directory / "bigquery", next(ports), next(ports))
        self.receiver = ReceiverServer(directory / "receiver", next(ports))
        self.servers: dict[str, Server] = {
            "postgres": self.postgres,
            "kafka": self.kafka,
            "valkey": self.valkey,
            "bigquery-server": self.bigquery,
            "receiver": self.receiver,
        }
        self.proxies: dict[str, tuple[Proxy, ...]] = {
            "postgres": (Proxy(self.postgres.port, next(ports)),),
            "kafka": (kafka_proxy,),
            "valkey": (Proxy(self.valkey.port, next(ports)),),
            "bigquery-server": (
                Proxy(self.bigquery.port, next(ports)),
                Proxy(self.bigquery.grpc_port, next(ports)),
            ),
            "receiver": (Proxy(self.receiver.port, next(ports)),),
        }
        self.locks = {name: threading.Lock() for name in self.servers}
        """Whoever breaks a server holds its lock: one fault at a time."""

    def start(self, report: Report = silent) -> None:
        """Everything, at the same time; the source database with its schema."""

        def bring_up(server: Server) -> None:
            server.prepare(report)
            server.start()

        with ThreadPoolExecutor(len(self.servers)) as threads:
            list(threads.map(bring_up, self.servers.values()))
        self.postgres.create_database(self.postgres.database, schema=source_schema())

    def start_again(self, name: str) -> None:
        """A server that was killed or stopped. Raises Fatal when it does not come back."""
        for left in reversed(range(_STARTS)):
            try:
                return self.servers[name].start()
            except EngagementError:
                if not left:
                    raise
                time.sleep(_BETWEEN_STARTS_S)
        return None

    def stop(self) -> None:
        """No process and no connection is left."""
        for proxies in self.proxies.values():
            for proxy in proxies:
                proxy.close()
        with ThreadPoolExecutor(len(self.servers)) as threads:
            list(threads.map(lambda server: server.kill(), self.servers.values()))

    def direct(self) -> dict[str, str]:
        """The environment of somebody who must not be disturbed."""
        found: dict[str, str] = {"LOG_FORMAT": "json"}
        for server in self.servers.values():
            found |= server.environment()
        return found

    def environment(self) -> dict[str, str]:
        """The environment of a stage: everything is behind a proxy."""
        bigquery_rest, bigquery_grpc = self.proxies["bigquery-server"]
        postgres, kafka, valkey, receiver = (
            self.proxies[name][0].port for name in ("postgres", "kafka", "valkey", "receiver")
        )
        return self.direct() | {
            "DATABASE_URL": self.postgres.database_url.replace(f":{self.postgres.port}/", f":{postgres}/"),
            "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{kafka}",
            "REDIS_URL": f"redis://{HOST}:{valkey}",
            "BIGQUERY_REST_ENDPOINT": f"http://{HOST}:{bigquery_rest.port}",
            "BIGQUERY_GRPC_ENDPOINT": f"{HOST}:{bigquery_grpc.port}",
            "EXTERNAL_API_URL": f"http://{HOST}:{receiver}/events",
        }

    def settings(self) -> Settings:
        """As a process with `direct` would have them; nothing of a person's own settings gets in."""
        return settings_of(self.direct())


def started_world(directory: Path, report: Report = silent) -> ChaosWorld:
    """A world that runs. Chosen ports are only free until somebody else takes one: then others are chosen."""
    for left in reversed(range(_STARTS)):
        world = ChaosWorld(directory)
        try:
            world.start(report)
        except BaseException as error:
            world.stop()
            if not left or not isinstance(error, ConfigurationError):
                raise
        else:
            return world
    raise AssertionError("the last try raises")


def _distinct_ports() -> Iterator[int]:
    given: set[int] = set()
    while True:
        if (port := free_port()) not in given:
            given.add(port)
            yield port


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Settings out of these variables alone, but for what `without_own_settings` has left."""
    rooms = []
    for room in Settings.ROOMS:
        names = [str(field.validation_alias) for field in room.model_fields.values()]
        given: dict[str, Any] = {name: environment[name] for name in names if name in environment}
        rooms.append(room(_env_file=None, **given))
    return Settings(*rooms)  # type: ignore[arg-type]  # ROOMS stand in the order of the parameters


@contextlib.contextmanager
def without_own_settings() -> Iterator[None]:
    """For its time this process, and what it starts, knows none of the variables a person has set for a real pipeline.

    Chaos must never reach a server that is not its own.
    """
    ours = {str(field.validation_alias) for room in Settings.ROOMS for field in room.model_fields.values()}
    ours |= {"ENGAGEMENT_CRASH_AT"}
    kept = {name: os.environ.pop(name) for name in sorted(ours) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextlib.contextmanager
def fresh_directory(wanted: Path | None) -> Iterator[Path]:
    """`wanted`, made and kept; without one a temporary directory that is gone afterwards."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.absolute()
        return
    directory = Path(mkdtemp(prefix="engagement-chaos-"))
    directory.chmod(0o711)  # PostgreSQL's own user passes through where we are root
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def kept_logs(directory: Path) -> Path:
    """A copy of the logs that outlives a temporary directory."""
    kept = Path(mkdtemp(prefix="engagement-chaos-logs-"))
    shutil.copytree(directory / "logs", kept, dirs_exist_ok=True)
    return kept

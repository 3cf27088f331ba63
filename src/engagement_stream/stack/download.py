"""Kafka's jars: fetched once per user, in parallel, each checked against the hash in `kafka_jars.txt`."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from engagement_stream.errors import ConfigurationError
from engagement_stream.stack.part import Progress, Report

KAFKA_VERSION = "4.3.1"
_AT_ONCE = 8
_TIMEOUT_S = 20  # without a byte


def cache_dir() -> Path:
    """What all checkouts of this user share: `ENGAGEMENT_CACHE_DIR`, or the platform's cache folder."""
    if chosen := os.environ.get("ENGAGEMENT_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "engagement-stream"


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock between processes; the kernel frees it when its holder dies."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigurationError(
            f"the cache folder {file.parent} cannot be used ({error.strerror}); "
            "set ENGAGEMENT_CACHE_DIR to a folder that you may write to."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of `kafka_jars.txt`."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def jars() -> list[Jar]:
    """What Kafka's broker and its storage tool need: the resolved dependencies, frozen."""
    lines = Path(__file__).with_name("kafka_jars.txt").read_text().splitlines()
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            coordinate, sha256 = line.split()
            group, artifact, version = coordinate.split(":")
            found.append(Jar(group, artifact, version, sha256))
    return found


def kafka_jars_dir(report: Report) -> Path:
    """The folder that holds all of them; fetched when it is not there yet.

    Safe to be killed in, and to be run by several processes at once.
    """
    folder = cache_dir() / f"kafka-{KAFKA_VERSION}"
    if folder.exists():
        return folder
    with locked(cache_dir() / "kafka.lock"):
        if not folder.exists():
            fresh = folder.with_name(folder.name + ".new")
            _fetch_all(jars(), fresh, report)
            fresh.rename(folder)
    return folder


def _fetch_all(wanted: list[Jar], folder: Path, report: Report) -> None:
    work = folder.with_name(folder.name + ".fetching")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="jar") as pool:
            pending = [pool.submit(_fetch, jar, work, folder) for jar in wanted]
            try:
                for done, future in enumerate(as_completed(pending), 1):
                    future.result()
                    report(Progress("kafka", "fetching Apache Kafka", done, len(wanted)))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except OSError as error:  # requests' errors are OSErrors too
        raise ConfigurationError(f"Apache Kafka could not be fetched: {_why(error)}") from error
    except RuntimeError as error:  # jgo: not found in the repository
        raise ConfigurationError(
            f"Apache Kafka could not be fetched: {error}. Start again later, or set KAFKA_BOOTSTRAP_SERVERS."
        ) from error
    shutil.rmtree(work, ignore_errors=True)


def _fetch(jar: Jar, work: Path, folder: Path) -> None:
    from jgo.maven import MavenContext

    target = folder / jar.filename
    if target.exists() and _sha256(target) == jar.sha256:  # fetched by an attempt that was broken off
        return
    context = MavenContext(repo_cache=work, timeout=_TIMEOUT_S)
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for attempt in (1, 2, 3):
        try:
            path = artifact.resolve()
        except OSError:
            _forget(artifact.cached_path)
            if attempt == 3:
                raise
            time.sleep(attempt * 0.5)
            continue
        if _sha256(path) == jar.sha256:
            path.replace(target)
            return
        _forget(path)  # torn by an earlier crash, or on the way
    raise ConfigurationError(
        f"{jar.filename} is not the file it should be (its SHA-256 differs); "
        "something between here and the repository changes files: try another network."
    )


def _why(error: OSError) -> str:
    """One sentence, and what to do; the chain of library messages behind it stays in the traceback."""
    kind = type(error).__name__
    if kind in {"SSLError", "ProxyError"}:
        what = "the connection is not trusted or the proxy refuses it; if your network has a certificate or proxy of "
        return what + f"its own, set REQUESTS_CA_BUNDLE or HTTPS_PROXY, and start again ({kind})."
    if error.errno == errno.ENOSPC:
        return f"the disk of {cache_dir()} is full; 60 MB are needed, or set ENGAGEMENT_CACHE_DIR to another disk."
    if error.filename is not None:  # a file of ours, not the network
        return f"{error.strerror} ({error.filename}); set ENGAGEMENT_CACHE_DIR to a folder that you may write to."
    return (
        f"the network does not answer ({kind}); the first start needs it. "
        "Start again later, or set KAFKA_BOOTSTRAP_SERVERS to a broker of your own."
    )


def _forget(path: Path | None) -> None:
    if path is not None:
        path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

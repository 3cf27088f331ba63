"""The frozen list of Kafka's jars, and the cache they are kept in."""

import multiprocessing
import re
from pathlib import Path

import pytest

from engagement_stream.errors import ConfigurationError
from engagement_stream.stack.download import KAFKA_VERSION, cache_dir, jars, kafka_jars_dir, locked
from engagement_stream.stack.part import silent


def test_every_jar_has_one_version_and_a_hash() -> None:
    """Two versions of one library on a class path are a lottery."""
    found = jars()
    assert len({(jar.group, jar.artifact) for jar in found}) == len(found)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in found)
    assert {jar.version for jar in found if jar.group == "org.apache.kafka"} == {KAFKA_VERSION}


def test_the_cache_may_be_put_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ENGAGEMENT_CACHE_DIR before XDG_CACHE_HOME before ~/.cache."""
    monkeypatch.delenv("ENGAGEMENT_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "engagement-stream"
    monkeypatch.setenv("ENGAGEMENT_CACHE_DIR", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


def test_a_cache_that_is_there_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder appears whole or not at all, so its presence is enough."""
    monkeypatch.setenv("ENGAGEMENT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    folder = tmp_path / f"kafka-{KAFKA_VERSION}"
    folder.mkdir()
    assert kafka_jars_dir(silent) == folder


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And nothing half-done counts as done."""
    monkeypatch.setenv("ENGAGEMENT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody answers on the discard port
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ConfigurationError, match=r"could not be fetched.*set "):
        kafka_jars_dir(silent)
    assert not (tmp_path / f"kafka-{KAFKA_VERSION}").exists()


def test_a_cache_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENGAGEMENT_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="ENGAGEMENT_CACHE_DIR"):
        kafka_jars_dir(silent)


def _count_under_lock(folder: str, times: int) -> None:
    counter = Path(folder) / "counter"
    for _ in range(times):
        with locked(Path(folder) / "lock"):
            counter.write_text(str(int(counter.read_text()) + 1))


def test_two_processes_do_not_hold_the_lock_at_once(tmp_path: Path) -> None:
    """A read-modify-write under it loses nothing."""
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count_under_lock, args=(str(tmp_path), 200)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert (tmp_path / "counter").read_text() == "400"

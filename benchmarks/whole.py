"""PostgreSQL to Redis through everything: our three stages, and the nearest thing that a user would assemble.

That is Debezium, a Quix job that joins and writes exactly once, and a second one with Quix's Redis sink. The sink sets
one key per event at least once: no totals, no window, no ranking. Nobody offers those.
"""

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.capturing import Debezium, OurCapture
from benchmarks.enriching import PeerEnrich
from benchmarks.offsets import Offsets
from engagement_stream.bench.rig import Rig, StageProcess, stop_process, wait_for

_START_WITHIN_S = 60.0


class OurWhole:
    """Capture, enrich and redis as processes of their own, exactly once all the way."""

    name = "Engagement Stream: capture, enrich, redis"

    def __init__(self, rig: Rig, directory: Path, captured: OurCapture) -> None:
        self._captured = captured
        self._directory = directory
        self._offsets = Offsets(rig.settings.kafka.bootstrap_servers)
        self._stages: list[StageProcess] = []

    def prepare(self) -> None:
        self._captured.prepare()

    def start(self) -> None:
        """From the end: else the first stages would have done most of the work before the last one is there."""
        for name in ("redis", "enrich", "capture"):
            stage = self._stage(name)
            self._stages.insert(0, stage)
            wait_for(stage.is_running, _START_WITHIN_S, f"{name} to run")

    def _stage(self, name: str) -> StageProcess:
        prefix = self._captured.prefix
        environment = {**self._captured.environment, "REDIS_KEY_PREFIX": prefix}
        return StageProcess(name, environment, self._directory / f"{prefix}-{name}.log")

    def progress(self) -> int:
        return self._stages[-1].records()

    def pids(self) -> list[int]:
        return [stage.pid for stage in self._stages]

    def stop(self) -> None:
        for stage in self._stages:
            stage.stop()


class PeerWhole:
    """The three peers, started together."""

    name = "Debezium, Quix Streams, its Redis sink"

    def __init__(self, debezium: Debezium, enrich: PeerEnrich, python: Path, rig: Rig, serial: int) -> None:
        self._debezium, self._enrich = debezium, enrich
        self._python = python
        self._group = f"quix-redis-{serial}"
        self._broker = rig.settings.kafka.bootstrap_servers
        self._redis = urlsplit(rig.settings.redis.url.get_secret_value())
        self._offsets = Offsets(self._broker)
        self._sink: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        self._debezium.prepare()
        self._offsets.ensure(self._debezium.topic)
        self._enrich.prepare()

    def start(self) -> None:
        self._debezium.start()
        self._enrich.start()
        job = Path(__file__).with_name("jobs") / "quix_redis.py"
        where = [str(self._redis.hostname), str(self._redis.port)]
        self._sink = subprocess.Popen(
            [str(self._python), str(job), self._broker, self._group, self._enrich.output, *where],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def progress(self) -> int:
        assert self._sink is not None
        if self._sink.poll() is not None:
            raise RuntimeError("the peers' Redis sink ended")
        return self._offsets.of_group(self._group, self._enrich.output)

    def pids(self) -> list[int]:
        assert self._sink is not None
        return [*self._debezium.pids(), *self._enrich.pids(), self._sink.pid]

    def stop(self) -> None:
        if self._sink is not None:
            stop_process(self._sink)
        self._enrich.stop()
        self._debezium.stop()

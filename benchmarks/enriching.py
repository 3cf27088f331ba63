"""The raw topic to the enriched one, exactly once: ourselves, Quix Streams, Faust."""

import subprocess
from pathlib import Path

from benchmarks.capturing import OurCapture
from benchmarks.offsets import Offsets
from engagement_stream.bench.rig import Rig, StageProcess, stop_process

_JOBS = Path(__file__).with_name("jobs")


class OurEnrich:
    """The enrich stage: as-of join, dead letters, offsets in the output's transaction, commits as soon as it can."""

    name = "Engagement Stream, exactly once"

    def __init__(self, rig: Rig, directory: Path, captured: OurCapture) -> None:
        self._captured = captured
        self._group = f"{captured.prefix}-enrich"
        self._log = directory / f"{captured.prefix}-enrich.log"
        self._offsets = Offsets(rig.settings.kafka.bootstrap_servers)
        self._stage: StageProcess | None = None

    def prepare(self) -> None:
        """Its topics were made by capture."""

    def start(self) -> None:
        self._stage = StageProcess("enrich", self._captured.environment, self._log)

    def progress(self) -> int:
        return self._offsets.of_group(self._group, self._captured.topic)

    def pids(self) -> list[int]:
        assert self._stage is not None
        return [self._stage.pid]

    def stop(self) -> None:
        assert self._stage is not None
        self._stage.stop()


class PeerEnrich:
    """A job of `jobs/`, run by the peers' Python; the join is a dictionary that it reads before it starts.

    `topics`: events, and content in one partition.
    """

    def __init__(
        self, name: str, job: str, python: Path, rig: Rig, directory: Path, topics: tuple[str, str], serial: int
    ) -> None:
        self.name = name
        self._python, self._job = python, _JOBS / job
        self._events, self._content = topics
        self._group = f"{self._job.stem}-{serial}"
        self.output = f"{self._group}-enriched"
        self._home = directory / self._group
        self._broker = rig.settings.kafka.bootstrap_servers
        self._offsets = Offsets(self._broker)
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        self._offsets.ensure(self.output)

    def start(self) -> None:
        self._home.mkdir(exist_ok=True)
        argv = [self._broker, self._group, self._events, self._content, self.output]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._python), str(self._job), *argv], cwd=self._home, stdout=log, stderr=log
            )

    def progress(self) -> int:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {(self._home / 'log').read_text(errors='replace')[-1500:]}")
        return self._offsets.of_group(self._group, self._events)

    def pids(self) -> list[int]:
        assert self._process is not None
        return [self._process.pid]

    def stop(self) -> None:
        assert self._process is not None
        stop_process(self._process)

"""What everything costs while nothing happens: `engagement stream` with all stages and the API, and the servers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import psutil

from engagement_stream.bench.rig import Rig, stop_process, wait_for
from engagement_stream.pipeline.programs import free_port

_SETTLE_S = 20.0
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Idle:
    """Part of one core, 1.0 being all of it."""

    seconds: float
    ours: float
    """The supervisor, five stages and the API together, the canary's work included."""
    servers: dict[str, float]
    rss_mb: float


def measure_idle(rig: Rig, seconds: float, tell: Tell) -> Idle:
    """As a user runs it, after 20 s in which it comes to rest."""
    port = free_port()
    stream = rig.run("stream", "--data-dir", str(rig.data_dir / "stream"), API_PORT=str(port))
    try:
        wait_for(lambda: _healthy(port), 120.0, "everything to run", every_s=0.5)
        tell(f"nothing for {_SETTLE_S:.0f} s, then measuring for {seconds:.0f} s ...")
        time.sleep(_SETTLE_S)
        family = [psutil.Process(stream.pid), *psutil.Process(stream.pid).children(recursive=True)]
        cpu_s, servers, since_s = _cpu_s(family), rig.servers_cpu_s(), time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - since_s
        return Idle(
            took_s,
            (_cpu_s(family) - cpu_s) / took_s,
            {name: (now - servers[name]) / took_s for name, now in rig.servers_cpu_s().items()},
            sum(process.memory_info().rss for process in family) / 1e6,
        )
    finally:
        stop_process(stream)


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False


def _cpu_s(family: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in family]
    return float(sum(t.user + t.system for t in times))

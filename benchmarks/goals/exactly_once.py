"""What exactly-once costs: the same rows through the same stages, with and without Kafka transactions, alternating."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.capturing import OurCapture
from benchmarks.contender import Contender, Figure
from benchmarks.enriching import OurEnrich
from benchmarks.measuring import measure
from benchmarks.whole import OurWhole
from engagement_stream.bench.rig import Rig, wait_for

ON, OFF = "on", "off"
_AT_ONCE = 4
Tell = Callable[[str], None]


def measure_exactly_once(rig: Rig, directory: Path, rows: int, rounds: int, tell: Tell) -> dict[str, list[Figure]]:
    """`capture`, `enrich` and `whole` (both and Redis at once), each `.on` and `.off` -> its rounds' figures."""
    numbers = range(rounds + 1)  # the first round warms up and does not count
    alone = {mode: [_capture(rig, directory, mode, number) for number in numbers] for mode in (ON, OFF)}
    whole = {mode: [_capture(rig, directory, mode, number + 100) for number in numbers] for mode in (ON, OFF)}
    tell("preparing the slots ...")
    everybody = [*alone[ON], *alone[OFF], *whole[ON], *whole[OFF]]
    with ThreadPoolExecutor(_AT_ONCE) as several:  # its threads outlive the processes they start, as they have to
        list(several.map(OurCapture.prepare, everybody))
    tell(f"writing {rows:,} rows ...")
    writer = rig.generate("historical", "--historical-days", "7", "--rows", str(rows))
    wait_for(lambda: writer.poll() is not None, 900.0, "the rows to be written")
    found: dict[str, list[Figure]] = {}
    for number in numbers:
        for mode in (ON, OFF) if number % 2 else (OFF, ON):
            runs: dict[str, Contender] = {
                "capture": alone[mode][number],
                "enrich": OurEnrich(rig, directory, alone[mode][number]),
                "whole": OurWhole(rig, directory, whole[mode][number]),
            }
            for what, contender in runs.items():
                figure = measure(contender, rows, rig.server_pid("kafka"))
                tell(f"  {what}, exactly-once {mode}: {figure.records_per_s:,.0f}/s, {figure.cpu_us:.1f} us")
                if number:
                    found.setdefault(f"{what}.{mode}", []).append(figure)
    return found


def _capture(rig: Rig, directory: Path, mode: str, serial: int) -> OurCapture:
    capture = OurCapture(rig, directory, serial + (1_000 if mode == OFF else 0))
    capture.environment["ENABLE_EXACTLY_ONCE"] = "true" if mode == ON else "false"
    return capture

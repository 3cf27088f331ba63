"""A million dead letters: `python -m tests.scale.million_letters [COUNT]` prints time and memory of the commands.

Memory must not grow with the queue: the index lies on disk, payloads pass through in transactions of a bounded size.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engagement_stream.broker.dead_letter import DeadLetters
from engagement_stream.broker.topics import ensure_topics
from engagement_stream.settings import KafkaSettings
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.ports import free_port
from tests.fixtures.dead_letters import command_environment, letter, pass_by

_CHUNK = 50_000
_PAYLOAD = b"x" * 500


def main(count: int) -> None:
    """On a broker of its own."""
    directory = Path(tempfile.mkdtemp(prefix="engagement-scale-"))
    broker = KafkaServer(directory / "kafka", free_port())
    broker.prepare()
    broker.start()
    try:
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, events_topic="scale-events", prefix="scale")
        _fill(kafka, count)
        for arguments in (
            ["list", "--limit", "1"],
            ["list", "--reason", "refused 3", "--limit", "1"],
            ["replay", "--reason", "refused 3"],
            ["replay", "--all"],
            ["discard", "--all", "--yes"],
        ):
            _measure(kafka, arguments)
    finally:
        broker.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _fill(kafka: KafkaSettings, count: int) -> None:
    ensure_topics(kafka)
    letters = DeadLetters(kafka)
    for first in range(0, count, _CHUNK):
        numbers = range(first, min(first + _CHUNK, count))
        topic = kafka.enriched_topic
        letters.put([letter("http", topic, n % 4, n, _PAYLOAD, f"refused {n % 100}") for n in numbers], timeout_s=120)
    pass_by(kafka, "http", kafka.enriched_topic, count)
    print(f"{count:,} letters of {len(_PAYLOAD)} bytes")


def _measure(kafka: KafkaSettings, arguments: list[str]) -> None:
    """Each command is a child of its own child, so that the memory told is that of this one alone."""
    code = f"""
import resource, subprocess, sys
command = [sys.executable, "-m", "engagement_stream.cli", "dlq", *{arguments!r}]
done = subprocess.run(command, capture_output=True, text=True)
print(done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr[-500:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    began_s = time.monotonic()
    environment = {**os.environ, **command_environment(kafka)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    *said, peak_kib = done.stdout.strip().splitlines()
    seconds = time.monotonic() - began_s
    print(f"engagement dlq {' '.join(arguments)}: {seconds:.1f} s, {int(peak_kib) / 1024:.0f} MiB; {' '.join(said)}")


if __name__ == "__main__":
    main(int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 1_000_000)

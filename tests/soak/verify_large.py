"""The ledger over a million events: how long it takes and how much memory.

`python -m pytest -n 0 --timeout 0 -s tests/soak/verify_large.py`; EVENTS=2000000 for more.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engagement_stream.broker.positions import committed
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.postgres import PostgresServer
from engagement_stream.stack.valkey import ValkeyServer
from engagement_stream.verify.extent import extent
from tests.fixtures.ledger_world import EVENTS as INSERT
from tests.fixtures.ledger_world import LedgerWorld, ledger_world
from tests.fixtures.waiting import wait_until

_MEASURED = """
import resource, sys, time
from pathlib import Path
from engagement_stream.settings import Settings
from engagement_stream.verify.run import verify

so_far = {}
began_s = time.monotonic()

def use():
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return f"{time.monotonic() - began_s:.0f} s ({time.process_time():.0f} s of CPU), {peak_mb:.0f} MB"

def tell(place, rows):
    so_far[place] = use()

report = verify(Settings.load(), Path(sys.argv[1]), tell=tell)
for place, used in [*so_far.items(), ("everything", use())]:
    print(f"  {place} was read after {used}")
for place in report.places:
    print(f"  {place.name}: {place.rows:,} rows")
assert report.exit_code == 0, report
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""
EVENTS = int(os.environ.get("EVENTS", "1000000"))
MEMORY_MB = 400


@pytest.mark.timeout(0)
def test_a_million_events_are_compared_in_bounded_memory(
    stack_dir: Path,
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    bigquery_server: BigQueryServer,
) -> None:
    """Through every place; the receiver is sent the history too."""
    servers = (kafka_server, postgres_server, valkey_server, bigquery_server)
    with ledger_world(stack_dir, *servers, redis_database=61) as world:
        world.send_history()
        for _ in range(EVENTS // 100_000):
            world.sql(INSERT, 100_000)
        began_s = time.monotonic()
        world.start("capture", "enrich", "redis", "bigquery", "http")
        wait_until(lambda: _delivered(world), 3_600.0, "everything to be delivered")
        print(f"{EVENTS:,} events delivered in {time.monotonic() - began_s:.0f} s")
        world.stop_all()
        began_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, str(world.data_dir)],
            env={**world.environment(), "PATH": ""},
            cwd=world.data_dir,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        print(done.stdout)
        peak_mb = float(done.stdout.split()[-1])
        print(f"compared in {time.monotonic() - began_s:.0f} s, at most {peak_mb:.0f} MB")
        assert peak_mb < MEMORY_MB


def _delivered(world: LedgerWorld) -> bool:
    kafka = world.settings.kafka
    ends = extent(kafka, kafka.enriched_topic, kafka.partitions).ends
    if world.receiver.stats().events < EVENTS:
        return False
    return all(
        (committed(kafka, stage, kafka.enriched_topic)[p] or 0) >= end - 1
        for stage in ("bigquery", "http")
        for p, end in enumerate(ends)
    )

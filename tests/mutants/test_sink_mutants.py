"""Mutants of Redis and BigQuery: the real servers under a log in memory or in a file."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import redis

from engagement_stream.settings import BigQuerySettings, RedisSettings
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.valkey import ValkeyServer
from tests.contract.sink_contract import POISON, once, records
from tests.fixtures.bigquery import delivered
from tests.fixtures.redis_model import folded, found
from tests.fixtures.road import MemoryLog
from tests.fixtures.sink_worker import load_log, save_log, start
from tests.fixtures.stack import dataset_on, empty_redis
from tests.fixtures.waiting import wait_until
from tests.mutants.disturbed import EVENTS, grown
from tests.mutants.running import Environment, assert_every_mutant_is_caught
from tests.mutants.sinks import BIGQUERY_ANSWER, BIGQUERY_KILLED, BIGQUERY_TWIN, REDIS, REDIS_KILLED

_PATIENCE = {"SINK_WORKER_PATIENCE_S": "15"}
_ROOT = Path(__file__).parents[2]


def test_every_mutant_of_redis_is_caught(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    """By the totals."""

    def run(place: Path, environment: Environment) -> list[str]:
        settings = empty_redis(valkey_server)
        problems = _disturbed("redis", {"url": settings.url.get_secret_value()}, place, environment)
        return [*_wrong_totals(settings, grown(MemoryLog(), EVENTS)), *problems]

    assert_every_mutant_is_caught(REDIS, run, tmp_path)


def test_a_dead_letter_that_comes_late_is_missed(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    """In is delivered plus dead-lettered, always."""

    def run(place: Path, environment: Environment) -> list[str]:
        settings, log = empty_redis(valkey_server), MemoryLog()
        log.append(0, [*records(1, 3), POISON, *records(4, 6)])
        save_log(place, log)
        problems = [
            *_live(place, settings, "redis.after_script:2", environment),
            *_live(place, settings, "", environment),
            *_wrong_totals(settings, log),
        ]
        letters = sorted(load_log(place).letters)
        return problems if letters == [b"redis/engagement-enriched/0/3"] else [*problems, f"dead letters are {letters}"]

    assert_every_mutant_is_caught(REDIS_KILLED, run, tmp_path)


def test_every_mutant_of_a_killed_bigquery_sink_is_caught(bigquery_server: BigQueryServer, tmp_path: Path) -> None:
    """By the rows."""

    def run(place: Path, environment: Environment) -> list[str]:
        settings, log, problems = dataset_on(bigquery_server), MemoryLog(), []
        lives = [(12, "bigquery.after_append:2"), (24, "bigquery.before_commit"), (30, "")]
        for events, crash_at in lives:
            first = sum(map(len, log.records.values())) + 1
            log.append(0, records(first, events - 4))
            log.append(0, records(events - 3, events))
            save_log(place, log)
            problems += _live(place, settings, crash_at, environment)
        return [*_wrong_rows(settings, 30), *problems]

    assert_every_mutant_is_caught(BIGQUERY_KILLED, run, tmp_path)


def test_every_mutant_of_a_frozen_bigquery_sink_is_caught(bigquery_server: BigQueryServer, tmp_path: Path) -> None:
    """A twin that wakes up writes nothing, or the ledger says so."""

    def run(place: Path, environment: Environment) -> list[str]:
        settings, log = dataset_on(bigquery_server), MemoryLog()
        log.append(0, records(1, 20))
        save_log(place, log)
        with start(place, settings, "bigquery.before_append", **environment, **_PATIENCE) as twin:
            try:
                wait_until(lambda: psutil.Process(twin.pid).status() == psutil.STATUS_STOPPED, 60, "it freezes")
                problems = _live(place, settings, "", environment)
            finally:
                twin.send_signal(signal.SIGCONT)
            twin.wait(60)
        return [*_wrong_rows(settings, 20), *problems]

    assert_every_mutant_is_caught(BIGQUERY_TWIN, run, tmp_path)


def test_a_lost_answer_s_mutant_is_caught(bigquery_server: BigQueryServer, tmp_path: Path) -> None:
    """The emulator acted, and nobody heard."""

    def run(place: Path, environment: Environment) -> list[str]:
        settings = dataset_on(bigquery_server)
        problems = _disturbed("bigquery", _named(settings), place, environment)
        return [*_wrong_rows(settings, EVENTS), *problems]

    assert_every_mutant_is_caught(BIGQUERY_ANSWER, run, tmp_path)


def _live(
    place: Path, settings: BigQuerySettings | RedisSettings, crash_at: str, environment: Environment
) -> list[str]:
    """One process, to its crash point or to its end."""
    with start(place, settings, crash_at, **environment, **_PATIENCE) as process:
        ended = process.wait(90)
    if ended == (-signal.SIGKILL if crash_at else 0):
        return []
    return [f"a process ended with {ended}: {_last_line(place)}"]


def _disturbed(sink: str, settings: dict[str, str], place: Path, environment: Environment) -> list[str]:
    with (place / "output").open("ab") as output:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.mutants.disturbed", sink, json.dumps(settings)],
            cwd=_ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            timeout=120,
        ).returncode
    return [f"the sink ended with {ended}: {_last_line(place)}"] if ended else []


def _last_line(place: Path) -> str:
    return ((place / "output").read_text().splitlines() or [""])[-1][:200]


def _named(settings: BigQuerySettings) -> dict[str, str]:
    return {name: str(getattr(settings, name)) for name in ("project", "dataset", "rest_endpoint", "grpc_endpoint")}


def _wrong_totals(settings: RedisSettings, log: MemoryLog) -> list[str]:
    values = [value for _, value in log.records[0]]
    wanted = folded(values, window_s=settings.window_minutes * 60, keep=settings.recent_events)
    with redis.Redis.from_url(settings.url.get_secret_value(), decode_responses=True) as client:
        here = found(client)
    here.users, wanted.users = {}, {}  # an estimate
    return [] if here == wanted else [f"totals are wrong: {dict(here.totals)} instead of {dict(wanted.totals)}"]


def _wrong_rows(settings: BigQuerySettings, events: int) -> list[str]:
    rows, wanted = delivered(settings), once(1, events)
    kinds = {"doubled": sorted(rows - wanted), "missing": sorted(wanted - rows)}
    return [f"{len(ids)} {kind}: {ids[:5]}" for kind, ids in kinds.items() if ids]

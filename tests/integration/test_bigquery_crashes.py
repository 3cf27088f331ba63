"""The BigQuery sink is killed at every step of its protocol, in its first life or its second; the next one finishes."""

import signal
from pathlib import Path

import pytest

from engagement_stream.settings import BigQuerySettings
from tests.contract.sink_contract import POISON, once, records
from tests.fixtures.bigquery import delivered, offsets
from tests.fixtures.bigquery_worker import load_log, save_log, start
from tests.fixtures.engagements import watermark
from tests.fixtures.road import MemoryLog

OPENING = ("table", "create_stream", "first_commit")
WRITING = ("dead_letter", "append", "commit")
FIRST = [f"bigquery.{when}_{step}" for step in (*OPENING, *WRITING) for when in ("before", "after")]
FIRST += [
    "bigquery.after_send",
    "bigquery.before_append:2",
    "bigquery.after_append:2",
    "bigquery.before_create_stream:2",
]
SECOND = [
    f"bigquery.{when}_{step}" for step in ("finalize", "create_stream", "first_commit") for when in ("before", "after")
]
SECOND += ["bigquery.after_finalize:2", "bigquery.before_look", "bigquery.after_append", "bigquery.after_send"]


def _log() -> MemoryLog:
    """Two partitions with markers, watermarks and a poison record in each."""
    log = MemoryLog()
    for partition, first in ((0, 1), (1, 31)):
        log.append(partition, [*records(first, first + 9), watermark(), POISON])
        log.append(partition, [watermark(), *records(first + 10, first + 19)])
        log.append(partition, [*records(first + 20, first + 29), watermark()])
    return log


@pytest.mark.parametrize(
    "deaths", [*((at,) for at in FIRST), *(("bigquery.after_append:2", at) for at in SECOND)], ids=" then ".join
)
def test_killed_at_any_step_every_record_is_one_row(
    bigquery_settings: BigQuerySettings, tmp_path: Path, deaths: tuple[str, ...]
) -> None:
    """And every dead letter is there."""
    save_log(tmp_path, _log())
    for crash_at in deaths:
        with start(tmp_path, bigquery_settings, crash_at) as process:
            assert process.wait(60) == -signal.SIGKILL, f"not reached: {(tmp_path / 'output').read_text()}"
    with start(tmp_path, bigquery_settings) as process:
        assert process.wait(60) == 0, (tmp_path / "output").read_text()
    log = load_log(tmp_path)
    assert delivered(bigquery_settings) == once(1, 60)
    for partition in (0, 1):
        rows = [offset for offset, value in log.records[partition] if value != watermark()]
        assert offsets(bigquery_settings, partition) == rows
    assert sorted(log.letters) == [f"bigquery/{log.topic}/{p}/11".encode() for p in (0, 1)]

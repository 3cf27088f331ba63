"""The BigQuery sink is killed at every step of its protocol, one life after the other; the last one finishes."""

import signal
from contextlib import closing
from pathlib import Path

from google.cloud import bigquery

from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery.client import rest_client
from engagement_stream.sinks.bigquery.table import COLUMNS, table_name
from tests.contract.sink_contract import POISON, once, records
from tests.fixtures.bigquery import delivered, offsets
from tests.fixtures.engagements import watermark
from tests.fixtures.road import MemoryLog
from tests.fixtures.sink_worker import load_log, save_log, start

FIRST_LIVES = [
    "bigquery.before_dataset",
    "bigquery.after_dataset",
    "bigquery.after_table",
    "bigquery.after_columns",
    "bigquery.after_views",
    "bigquery.before_look",
    "bigquery.after_look",
    "bigquery.before_create_stream",
    "bigquery.after_create_stream",
    "bigquery.before_create_stream:2",
    "bigquery.before_first_commit",
    "bigquery.after_first_commit",
    "bigquery.before_dead_letter",
    "bigquery.after_dead_letter",
    "bigquery.before_append",
    "bigquery.after_send",
    "bigquery.after_append",
    "bigquery.before_commit",
    "bigquery.after_commit",
    "bigquery.before_append:2",
]
AFTER_AN_APPEND = [
    "bigquery.before_finalize",
    "bigquery.after_finalize",
    "bigquery.after_walk",
    "bigquery.after_finalize:2",
    "bigquery.before_first_commit",
    "bigquery.after_first_commit",
]
"""Where the life before has left rows in the stream that no commit tells of."""
KILLED_AT = [*FIRST_LIVES, *AFTER_AN_APPEND]


class _Lives:
    """One table and one log, which grows before each life: two partitions with markers, watermarks and poison."""

    def __init__(self, place: Path, settings: BigQuerySettings) -> None:
        self.place, self.settings = place, settings
        self.log = MemoryLog()
        self.events = 0
        self.poisoned: list[bytes] = []

    def grow(self) -> None:
        for partition in (0, 1):
            first = self.events + 1
            self.log.append(partition, [*records(first, first + 2), watermark(), POISON])
            self.poisoned.append(f"bigquery/{self.log.topic}/{partition}/{self.log.ends[partition] - 2}".encode())
            self.log.append(partition, [watermark(), *records(first + 3, first + 5), watermark()])
            self.events += 6
        save_log(self.place, self.log)

    def live(self, crash_at: str = "") -> None:
        self.grow()
        with start(self.place, self.settings, crash_at) as process:
            wanted = -signal.SIGKILL if crash_at else 0
            assert process.wait(90) == wanted, (crash_at, (self.place / "output").read_text())


def test_killed_at_every_step_every_record_is_one_row(bigquery_settings: BigQuerySettings, tmp_path: Path) -> None:
    """And every dead letter is there."""
    lives = _Lives(tmp_path, bigquery_settings)
    for crash_at in FIRST_LIVES:
        if crash_at == "bigquery.after_table":
            _make_an_older_table(bigquery_settings)
        lives.live(crash_at)
    for crash_at in AFTER_AN_APPEND:
        lives.live("bigquery.after_append")
        lives.live(crash_at)
    lives.live()
    log = load_log(tmp_path)
    assert delivered(bigquery_settings) == once(1, lives.events)
    for partition in (0, 1):
        rows = [offset for offset, value in log.records[partition] if value != watermark()]
        assert offsets(bigquery_settings, partition) == rows
    assert sorted(log.letters) == sorted(lives.poisoned)


def _make_an_older_table(settings: BigQuerySettings) -> None:
    """It lacks a column, which the next life has to add."""
    fields = [bigquery.SchemaField(name, kind) for name, kind, _ in COLUMNS if name != "device"]
    with closing(rest_client(settings)) as client:
        client.create_table(bigquery.Table(table_name(settings), schema=fields))

"""Inserts one after the other, across processes and deaths: their job ids are a chain.

A job id is taken once and for ever: `<target>_<day>_<number>`, numbers without a gap, each issued only after the one
before has ended. So whoever begins finds the last one by probing, and waits for it, whoever issued it. A process that
was frozen, lost its lock and wakes up wants to issue a number that its successor has taken by then, and is refused.

The day is the source database's. Yesterday's chain is closed by a statement that does nothing: a process frozen over
midnight cannot add to it. One frozen for longer finds its staging tables expired.

bqemulator takes a repeated job id and runs it again. It runs one statement at a time, though, and the second one sees
the first one's rows, so there is no harm.
"""

import hashlib
import time
from datetime import date, timedelta
from typing import Any

import requests.exceptions
from google.api_core import exceptions as foreign
from google.cloud import bigquery

from engagement_stream.backoff import Backoff, Patience
from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.settings import BigQuerySettings
from engagement_stream.sinks.bigquery.errors import FOREIGN, instruction, translated
from engagement_stream.sinks.bigquery.table import table_name

_TIMEOUT_S = 30.0
_ISSUE_TIMEOUT_S = 600.0
"""The emulator answers when the statement is done."""
_LOOK_EVERY_S = 1.0
_PATIENCE_S = 120.0
_NOTHING = "SELECT 1"
_ONCE: Any = None


class JobChain:
    """`today`: the day by the clock of the database whose lock the caller holds."""

    def __init__(self, client: bigquery.Client, settings: BigQuerySettings, today: date) -> None:
        self._client = client
        target = hashlib.sha256(table_name(settings).encode()).hexdigest()[:16]
        self._stem = f"engagement_insert_{target}"
        self._today = today
        with translated("asking for the dataset's location"):
            found = client.get_dataset(f"{settings.project}.{settings.dataset}", timeout=_TIMEOUT_S, retry=_ONCE)
        self._location = found.location or None
        self._next = 0

    def settle(self) -> None:
        """Wait until nothing that an earlier holder issued can still happen. Raises Retry."""
        yesterday = self._today - timedelta(days=1)
        number = self._first_free(yesterday)
        if number > 1:
            self._wait(self._id(yesterday, number - 1))
        while not self._issue(self._id(yesterday, number), _NOTHING):
            self._wait(self._id(yesterday, number))
            number += 1
        self._next = self._first_free(self._today)
        if self._next > 1:
            self._wait(self._id(self._today, self._next - 1))

    def run(self, sql: str) -> Any:
        """Run the statement as the chain's next job; returns the job when it is done. Raises Retry, Reopen, Fatal."""
        if not self._next:
            self.settle()
        name = self._id(self._today, self._next)
        crash_point("insert.before_issue")
        if not self._issue(name, sql):
            raise Reopen("another process inserts into the same table by now: it has taken over")
        crash_point("insert.after_issue")
        job = self._wait(name)
        self._next += 1
        if job.error_result:
            raise Fatal(
                f"BigQuery does not insert the staged rows: {' '.join(str(job.error_result.get('message')).split())}",
                remedy="see whether the table engagement_events was changed by hand; nothing was inserted",
            )
        crash_point("insert.after_done")
        return job

    def _issue(self, name: str, sql: str) -> bool:
        """False: the id is taken by a statement that is not ours. An answer that was lost is asked for again."""
        config = bigquery.QueryJobConfig(use_legacy_sql=False, use_query_cache=False)
        patience, deadline_s = Patience(Backoff(cap_s=5.0)), time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._client.query(
                    sql,
                    job_config=config,
                    job_id=name,
                    location=self._location,
                    timeout=_ISSUE_TIMEOUT_S,
                    retry=_ONCE,
                    job_retry=None,
                )
            except foreign.Conflict:
                return bool(self._look(name).query == sql)
            except FOREIGN as error:
                told = instruction(error, "issuing an insert")
                unknown = isinstance(told, Retry) or isinstance(error, requests.exceptions.RequestException)
                if not unknown:
                    if isinstance(error, foreign.BadRequest) and self._exists(name):
                        return True  # the emulator answers a failed statement so: its error is the job's
                    raise told from error
                if time.monotonic() > deadline_s:
                    raise Retry(str(told)) from error
                time.sleep(patience.next_wait_s())
                # The same id once more: if the first request did arrive, it is taken.
                if self._arrived(name):
                    return bool(self._look(name).query == sql)
            else:
                return True

    def _wait(self, name: str) -> Any:
        """The job, once it has ended, however."""
        pause_s = 0.02
        while True:
            job = self._look(name)
            if job.state == "DONE":
                return job
            time.sleep(pause_s)
            pause_s = min(_LOOK_EVERY_S, pause_s * 2)

    def _first_free(self, day: date) -> int:
        """By doubling, then halving: numbers have no gap."""
        taken, free = 0, 1
        while self._exists(self._id(day, free)):
            taken, free = free, free * 2
        while free - taken > 1:
            middle = (taken + free) // 2
            if self._exists(self._id(day, middle)):
                taken = middle
            else:
                free = middle
        return free

    def _exists(self, name: str) -> bool:
        with translated("looking for an earlier insert"):
            try:
                self._client.get_job(name, location=self._location, timeout=_TIMEOUT_S, retry=_ONCE)
            except foreign.NotFound:
                return False
        return True

    def _arrived(self, name: str) -> bool:
        try:
            return self._exists(name)
        except Retry:
            return False

    def _look(self, name: str) -> Any:
        with translated("looking at an insert"):
            return self._client.get_job(name, location=self._location, timeout=_ISSUE_TIMEOUT_S, retry=_ONCE)

    def _id(self, day: date, number: int) -> str:
        return f"{self._stem}_{day:%Y%m%d}_{number}"

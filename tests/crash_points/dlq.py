"""Steps of a replay of dead letters: sending them back, and inserting them into BigQuery."""

from typing import Final

from tests.crash_points.step import Step

_ONCE = "dlq/handling.py::_Operation._once"
_REPLAYS = "sinks/bigquery/replays.py::BigQueryReplays"

STEPS: Final = (
    Step(
        _ONCE,
        "_outbox.begin",
        "dlq.before_begin",
        "dlq.after_produce",
        "Records for the stages and the letters' marks are on their way; nobody sees them yet.",
    ),
    Step(
        _ONCE,
        "_outbox.commit",
        "dlq.after_produce",
        "dlq.after_commit",
        "Each letter is sent back and marked as such, both or neither.",
    ),
    Step(
        f"{_REPLAYS}._insert",
        "staging.load",
        None,
        "bigquery.after_replay_load",
        "The rows lie in a table of their own, named by what they are; loaded again they are there once.",
    ),
    Step(
        f"{_REPLAYS}._insert",
        "().run",
        "bigquery.after_replay_load",
        "bigquery.after_replay_insert",
        "Each row that was missing is in the table.",
    ),
    Step(
        f"{_REPLAYS}._deliver",
        "road.commit",
        "bigquery.before_replay_commit",
        "bigquery.after_replay_commit",
        "The position of the replays moves behind what is in the table or dead-lettered again.",
    ),
)

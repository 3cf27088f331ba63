"""Steps of a backfill, and of inserting what is missing in general."""

from typing import Final

from tests.crash_points.step import Step

_MARK = "backfill/watermark.py::WatermarkPass"

STEPS: Final = (
    Step(
        "sinks/bigquery/staging.py::Staging.load",
        "_client.load_table_from_file",
        "staging.before_load",
        "staging.after_load",
        "A table of our own holds the chunk, by truncating it; nobody reads it. It expires after a day.",
    ),
    Step(
        "sinks/bigquery/job_chain.py::JobChain.run",
        "self._issue",
        "insert.before_issue",
        "insert.after_issue",
        "The job's id is taken: a successor finds it and waits for it, a twin is refused.",
    ),
    Step(
        "sinks/bigquery/job_chain.py::JobChain.run",
        "self._wait",
        "insert.after_issue",
        "insert.after_done",
        "What was missing is in the table.",
    ),
    Step(
        "backfill/snapshot.py::take_snapshot",
        "connection.execute",
        "backfill.before_snapshot",
        "backfill.after_snapshot",
        "A view of the source that lives as long as this session.",
    ),
    Step(
        f"{_MARK}._emit",
        "connection.execute",
        "backfill.before_emit",
        "backfill.after_emit",
        "A mark behind the snapshot lies in the WAL; nobody but this run waits for it.",
    ),
    Step(
        f"{_MARK}.run",
        "self._passed",
        None,
        "backfill.after_watermark",
        "Nothing that the snapshot sees is on its way any more.",
        ("broker/positions.py::committed",),
    ),
    Step(
        "backfill/deliver.py::Delivery._insert_group",
        "_staging.drop",
        "backfill.before_drop",
        "backfill.after_drop",
        "The staging tables are gone; what is left of them the next run drops.",
    ),
    Step(
        "backfill/lane_progress.py::LaneProgress._put",
        "_producer.flush",
        "backfill.before_lane_progress",
        "backfill.after_lane_progress",
        "What is settled at the REST system, and the batch that is sent next, before it is first sent.",
    ),
    Step(
        "backfill/rest.py::RestLane._until_judged",
        "_endpoint.post",
        "backfill.before_send",
        "backfill.after_answer",
        "The receiver has acted, or not: the same bytes go out again under the same key.",
    ),
)

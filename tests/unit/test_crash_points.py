"""Every call to the outside stands between two crash points, every crash point is killed at, and the page says so."""

from pathlib import Path

import pytest

from tests.crash_points.page import page
from tests.crash_points.source import POINTS, not_around, stale, without_step
from tests.crash_points.step import Step
from tests.crash_points.steps import STEPS
from tests.integration import (
    test_backfill_live,
    test_backfill_rest,
    test_bigquery_crashes,
    test_capture_crash,
    test_dlq_handling,
    test_dlq_replays,
    test_enrich_crashes,
    test_generate_outages,
    test_http_crashes,
    test_rebuild,
    test_redis_sink,
)

_KILLING = (
    test_backfill_live,
    test_backfill_rest,
    test_bigquery_crashes,
    test_capture_crash,
    test_dlq_handling,
    test_dlq_replays,
    test_enrich_crashes,
    test_generate_outages,
    test_http_crashes,
    test_rebuild,
    test_redis_sink,
)
_NAMES = {point.name for point in POINTS}


def test_a_name_stands_in_one_place() -> None:
    """Or nobody would know where a process died."""
    assert len(POINTS) == len(_NAMES)


def test_every_call_to_the_outside_is_a_step_or_a_question() -> None:
    """A new one needs crash points, and a row in tests/crash_points."""
    assert not without_step()


def test_the_table_names_no_call_that_is_gone() -> None:
    """Or it would excuse a later one."""
    assert not stale()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.after)
def test_a_step_stands_between_its_crash_points(step: Step) -> None:
    """In the order of the source."""
    assert not_around(step) is None


def test_every_crash_point_belongs_to_a_step() -> None:
    """So the page lists them all."""
    assert {name for step in STEPS for name in (step.before, step.after) if name is not None} == _NAMES


def test_every_crash_point_is_killed_at_by_a_test() -> None:
    """The crash tests assert that the process died there."""
    assert {at.partition(":")[0] for module in _KILLING for at in module.KILLED_AT} == _NAMES


def test_the_page_of_crash_points_is_fresh() -> None:
    """`python -m tests.crash_points.page > docs/reference/crash-points.md`."""
    written = (Path(__file__).parents[2] / "docs" / "reference" / "crash-points.md").read_text()
    assert written == page()

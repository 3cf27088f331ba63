"""The named crash points, found in the source: what there is to arm, and in which stage."""

from collections.abc import Mapping, Sequence

from engagement_stream import crash_catalog
from engagement_stream.pipeline.build import SINKS

_ROOMS: Mapping[str, Sequence[str]] = {"transaction": ("capture", "enrich"), "road": SINKS}
"""Rooms that several stages walk through; every other one is named after its stage."""

FIRST_START = frozenset(
    {
        "capture.after_creating_record",
        "capture.before_slot",
        "capture.after_slot",
        "capture.after_import",
        "capture.after_content",
    }
)
"""Reached while the first copy is made, and never again."""

_SELDOM = frozenset(
    {
        "enrich.before_settle",  # when idle
        "enrich.after_settle",
        "enrich.before_catalog_wait",  # when a content change is not readable yet
        "enrich.after_catalog_wait",
        "bigquery.before_look",  # when the service forgot a stream
        "bigquery.after_look",
        "bigquery.after_columns",  # of a table that an older release made
        "capture.before_copy",  # while the first copy is on its way
        "capture.after_copy",
        "capture.after_copy_session",
        "capture.after_commit_something",
        "capture.rows_without_progress",  # without transactions
        "http.before_read",  # when the former process left a frozen batch
        "http.after_read",
        "capture.content_chunk",  # in a catalogue of many thousand items
    }
)
_REPEATED = frozenset(
    {
        "capture.before_commit",
        "capture.after_commit",
        "capture.before_acknowledge",
        "capture.after_acknowledge",
        "transaction.before_offsets",
        "transaction.after_offsets",
        "transaction.before_commit",
        "transaction.after_commit",
        "enrich.before_begin",
        "enrich.after_produce",
        "enrich.after_commit",
        "redis.before_script",
        "redis.after_script",
        "bigquery.before_append",
        "bigquery.after_send",
        "bigquery.after_append",
        "bigquery.before_commit",
        "bigquery.after_commit",
        "http.before_commit",
        "http.after_commit",
        "http.before_send",
        "http.after_answer",
        "road.before_commit",
        "road.after_commit",
    }
)
"""Reached with every batch, so that dying at a later time than the first means something."""


def crash_points() -> frozenset[str]:
    """Every name that the source passes to `crash_point`."""
    return frozenset(point.name for point in crash_catalog.crash_points())


def points_of(stage: str, points: frozenset[str]) -> list[str]:
    """Those a running stage comes by under load, in the order of their names.

    Left out are the ones that only a first start or a refused record reaches: tests of their own arm those.
    """
    return sorted(
        point
        for point in points
        if stage in _ROOMS.get(room := point.partition(".")[0], (room,))
        and point not in FIRST_START | _SELDOM
        and "dead_letter" not in point
        and not (stage == "capture" and point.startswith("transaction.") and "offsets" in point)
        and not (stage == "redis" and point.startswith("road.") and "committed" in point)  # it has fences instead
    )


def repeated(point: str) -> bool:
    """Whether a running stage passes there again and again."""
    return point in _REPEATED

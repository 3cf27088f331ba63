"""Steps of a rebuild of Redis."""

from typing import Final

from tests.crash_points.step import Step

_GENERATION = "sinks/redis/generation.py::NewGeneration"
_SOURCE = "rebuild/source.py::RebuildSource"

STEPS: Final = (
    Step(
        f"{_SOURCE}.take_snapshot",
        "session.create_slot",
        "rebuild.before_slot",
        "rebuild.after_slot",
        "A temporary slot, gone with its session; its snapshot and consistent point are known.",
    ),
    Step(
        f"{_SOURCE}.emit_mark",
        "connection.execute",
        "rebuild.before_mark",
        "rebuild.after_mark",
        "A mark behind the snapshot lies in the WAL; nobody but this run waits for it.",
    ),
    Step(
        f"{_GENERATION}.begin",
        "pipe.execute",
        "rebuild.before_begin",
        "rebuild.after_begin",
        "No older rebuild can put its generation in place any more.",
    ),
    Step(
        f"{_GENERATION}._send",
        "pipe.execute",
        "rebuild.before_piece",
        "rebuild.after_piece",
        "A piece of the new generation, and its count; nobody reads it. The next run deletes what is left of it.",
    ),
    Step(
        f"{_GENERATION}.switch",
        "_client.eval",
        "rebuild.before_switch",
        "rebuild.after_switch",
        "The new generation of one partition is in place, with its fence.",
    ),
    Step(
        f"{_GENERATION}.forget_others",
        "_client.eval",
        "rebuild.before_forget",
        "rebuild.after_forget",
        "Some keys of generations that nobody uses are gone.",
    ),
)

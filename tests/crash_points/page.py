"""The page of all crash points: `python -m tests.crash_points.page > docs/reference/crash-points.md`."""

import sys

from tests.crash_points.source import POINTS
from tests.crash_points.steps import STEPS

_HEAD = """\
# Crash points

Generated from the source and checked by a test: `python -m tests.crash_points.page > docs/reference/crash-points.md`.

A crash point is a named place, `room.step`, before or after a call to another process. `ENGAGEMENT_CRASH_AT=name[:nth]`
kills the process there by SIGKILL, the n-th time it comes by; unarmed it is an empty function. Every point is reached
and killed at by at least one test against real servers, and what comes after must deliver each row once (`plain`: at
least once).

`transaction`, `plain`, `topics` and `road` are shared: any stage that speaks to Kafka comes by. Where the first column
is empty the call begins with crash points of its own. What a step makes durable is true at the second point, and may
or may not be true anywhere between the two.
"""
_TITLES = {
    "capture": "capture: PostgreSQL to Kafka",
    "transaction": "transaction: the Kafka transactions of capture and enrich",
    "plain": "plain: the same with ENABLE_EXACTLY_ONCE=false",
    "topics": "topics: made by whoever comes first",
    "enrich": "enrich: Kafka to Kafka",
    "road": "road: a sink's way to Kafka",
    "redis": "redis",
    "bigquery": "bigquery",
    "http": "http",
    "generate": "generate: test traffic",
    "rebuild": "rebuild: Redis out of PostgreSQL",
    "staging": "staging: rows that do not come by a write stream",
    "insert": "insert: what is missing, one statement at a time",
    "backfill": "backfill: past days out of PostgreSQL",
    "dlq": "dlq: dead letters sent back",
}


def page() -> str:
    """The whole page, as text."""
    rooms = {step.after.partition(".")[0] for step in STEPS}
    assert rooms == set(_TITLES), "a room without a title"
    parts = [_HEAD]
    for room, title in _TITLES.items():
        parts.append(
            f"\n## {title}\n\n| before | after | call | what is durable or decided then |\n|---|---|---|---|\n"
        )
        for step in STEPS:
            if step.after.partition(".")[0] == room:
                before = f"`{step.before}`" if step.before else ""
                file = step.where.partition("::")[0]
                parts.append(f"| {before} | `{step.after}` | `{step.call}` in `{file}` | {step.what} |\n")
    names = sorted({point.name for point in POINTS})
    parts.append(f"\n{len(names)} crash points in all.\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())

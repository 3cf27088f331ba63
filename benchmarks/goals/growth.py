"""Whether an event costs the same after millions of others, and whatever the number of contents."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import psycopg

from benchmarks.goals.reference import Reference
from benchmarks.goals.teams import Team, teams
from engagement_stream.bench.rig import Rig, wait_for

_ROWS_PER_COMMIT = 50_000
_AHEAD_ROWS = 200_000
"""So far the writer may be ahead of the slowest stage: a backlog, and not all of it on the disk twice."""
_LIMIT_S = 3_600.0
_CONTENT = """
insert into content (id, slug, title, content_type, length_seconds, publish_ts)
select md5('growth-' || n)::uuid, 'growth-' || n, 'Growth ' || n, (array['podcast', 'newsletter', 'video'])[1 + n %% 3],
       60 + n %% 7000, now() - interval '1 day'
  from generate_series(1, %(contents)s) as n
"""
_EVENTS = """
insert into engagement_events (content_id, user_id, event_type, event_ts, duration_ms, device, raw_payload)
select md5('growth-' || (1 + floor(random() * %(contents)s))::int)::uuid, gen_random_uuid(),
       (array['play', 'pause', 'finish', 'click'])[1 + n %% 4], clock_timestamp(), (random() * 600000)::int,
       (array['ios', 'web', 'android'])[1 + n %% 3], '{"app": "6.2.1", "network": "wifi", "volume": 0.7}'::jsonb
  from generate_series(1, %(rows)s) as n
"""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the events: up to how many, what one cost in each stage, and what each process held at its end."""

    events: int
    cpu_us_per_event: dict[str, float]
    rss_mb: dict[str, float]
    reference_us: float
    """Of the reference loop meanwhile: CPU is told in units of it, or busy neighbours would look like growth."""


@dataclass(frozen=True, slots=True)
class Growth:
    """One run in steps of equal size; or the last steps of several runs."""

    contents: int
    steps: list[Step]


def measure_growth(
    rig: Rig, contents: int, events: int, steps: int, sinks: Sequence[str], tell: Tell, *, workers: int = 1
) -> Growth:
    """Fresh servers; the rows are written by PostgreSQL itself while the stages run."""
    each = events // steps
    found = []
    with (
        teams(rig, ("enrich", *sinks), workers) as running,
        psycopg.connect(rig.settings.postgres.database_url.get_secret_value(), autocommit=True) as source,
        Reference() as reference,
    ):
        tell(f"{contents:,} contents ...")
        source.execute(_CONTENT, {"contents": contents})
        _write(source, running, contents, 0, min(each, 20_000))  # start-up is not growth
        begun = min(each, 20_000)
        cpu_s = {name: stage.cpu_s() for name, stage in running.items()}
        reference.us()
        for number in range(1, steps + 1):
            end = begun + each * number
            _write(source, running, contents, begun + each * (number - 1), end)
            now_s = {name: stage.cpu_s() for name, stage in running.items()}
            costs = {name: (now_s[name] - cpu_s[name]) / each * 1e6 for name in running}
            rss_mb = {name: stage.rss_bytes() / 1e6 for name, stage in running.items()}
            found.append(Step(each * number, costs, rss_mb, reference.us()))
            cpu_s = now_s
            tell(f"  {each * number:,}: " + ", ".join(f"{name} {cost:.1f} us" for name, cost in costs.items()))
    return Growth(contents, found)


def _write(source: psycopg.Connection, running: dict[str, Team], contents: int, begin: int, end: int) -> None:
    """Rows from `begin` to `end`; returns when every stage has them all."""
    deadline_s = time.monotonic() + _LIMIT_S
    for first in range(begin, end, _ROWS_PER_COMMIT):
        while first - min(stage.records() for stage in running.values()) > _AHEAD_ROWS:
            if time.monotonic() > deadline_s:
                raise RuntimeError("a stage does not get on")
            time.sleep(0.1)
        source.execute(_EVENTS, {"contents": contents, "rows": min(_ROWS_PER_COMMIT, end - first)})
    for name, stage in running.items():
        wait_for(partial(_has, stage, end), _LIMIT_S, f"{name} to have {end:,} events", every_s=0.1)


def _has(stage: Team, records: int) -> bool:
    return stage.records() >= records

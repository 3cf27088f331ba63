"""Faults that come as data: one very large transaction, and content that changes while its events are written."""

import random

import psycopg

_LARGE = """
with edited as (
    update content set title = left(title, 60) || %(mark)s
    where id = (select id from content order by id offset %(skip)s limit 1) returning id
)
insert into engagement_events (content_id, user_id, event_type, event_ts, duration_ms, device, raw_payload)
select (select id from edited), gen_random_uuid(), 'play', now(), n, 'web', jsonb_build_object('n', n, 'large', true)
from generate_series(1, %(events)s) n
"""
_EDIT = """
update content set title = left(title, 60) || %(mark)s, length_seconds = %(length)s
where id = (select id from content order by id offset %(skip)s limit 1) returning id
"""
_EVENT = """
insert into engagement_events (content_id, user_id, event_type, event_ts, duration_ms, device)
values (%s, gen_random_uuid(), 'finish', now(), %s, 'ios')
"""
_CONTENTS = 200


def large_transaction(database_url: str, events: int, rng: random.Random) -> None:
    """So many events of one content in one transaction, which also edits that content."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            _LARGE.encode(),
            {"mark": f" ({rng.randrange(10**6)})", "skip": rng.randrange(_CONTENTS), "events": events},
        )


def edit_contents(database_url: str, edits: int, rng: random.Random) -> None:
    """Edits with an event right before and right after each: sometimes in one transaction, sometimes in three."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(edits):
            together = rng.random() < 0.5
            if together:
                connection.execute("begin")
            skip = rng.randrange(20)  # the same few again and again: many versions of each
            row = connection.execute("select id from content order by id offset %s limit 1", (skip,)).fetchone()
            if row is not None:
                connection.execute(_EVENT.encode(), (row[0], rng.randrange(10**6)))
                values = {"mark": f" [{rng.randrange(10**6)}]", "length": rng.randrange(1, 5_000), "skip": skip}
                connection.execute(_EDIT.encode(), values)
                connection.execute(_EVENT.encode(), (row[0], rng.randrange(10**6)))
            if together:
                connection.execute("commit")

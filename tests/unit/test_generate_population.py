"""Content and users: the same ones in every run, some loved and most not, in fashion and out of it."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

from engagement_stream.generate.editing import Editor
from engagement_stream.generate.population import (
    DAY_US,
    Content,
    catalogue,
    edited,
    popularity,
    published,
    pull,
    stored,
    users,
)

NOW_US = 1_790_000_000_000_000


def _shares(contents: list[Content], at_us: int) -> list[float]:
    cumulative = [0.0, *popularity(contents, at_us)]
    return [(there - here) / cumulative[-1] for here, there in pairwise(cumulative)]


def test_every_run_finds_the_same_content_and_users() -> None:
    """Only the time of publication depends on when the first run was."""
    later = [replace(content, publish_ts_us=0) for content in catalogue(NOW_US + DAY_US)]
    assert [replace(content, publish_ts_us=0) for content in catalogue(NOW_US)] == later
    assert users(100) == users(100)


def test_the_catalogue_is_varied_and_its_slugs_are_unique() -> None:
    """All types, English and Arabic, unknown lengths, newsletters mostly without, a rare 0."""
    contents = catalogue(NOW_US)
    assert len({content.slug for content in contents}) == len({content.id for content in contents}) == len(contents)
    assert set(Counter(content.content_type for content in contents)) == {"podcast", "newsletter", "video"}
    assert 30 < sum(any("\u0600" <= letter <= "\u06ff" for letter in c.title) for c in contents) < len(contents) / 2
    letters = [content for content in contents if content.content_type == "newsletter"]
    assert sum(content.length_seconds is None for content in letters) > len(letters) / 2
    others = [content for content in contents if content.content_type != "newsletter"]
    assert 0 < sum(content.length_seconds is None for content in others) < len(others) / 4
    assert 0 < sum(content.length_seconds == 0 for content in contents) < len(contents) / 20
    assert all(content.publish_ts_us <= NOW_US for content in contents)


def test_few_items_draw_most_people_and_none_draws_all() -> None:
    """Zipf-like: a tenth of the items has half of the traffic or more, the first not a third of it."""
    shares = sorted(_shares(catalogue(NOW_US), NOW_US), reverse=True)
    assert sum(shares[: len(shares) // 10]) > 0.5
    assert shares[0] < 0.33
    assert shares[-1] > 0


def test_fashions_change() -> None:
    """The favourites of one day are not those of the next week."""
    contents = catalogue(NOW_US - 30 * DAY_US)
    tops = [
        shares.index(max(shares)) for shares in (_shares(contents, NOW_US + day * DAY_US) for day in range(0, 14, 2))
    ]
    assert len(set(tops)) > 1


def test_nobody_plays_what_is_not_out_yet() -> None:
    """Unless nothing is out: then there would be no traffic at all."""
    content = catalogue(NOW_US)[0]
    assert pull(content, content.publish_ts_us - 1) == 0
    assert pull(content, content.publish_ts_us) > 0
    assert popularity([content], content.publish_ts_us - 1)[0] > 0


def test_a_mistaken_length_in_the_table_does_not_make_endless_sessions() -> None:
    """Neither 0, nor a negative one, nor 68 years."""
    content = catalogue(NOW_US)[0]
    for length_seconds in (None, 0, -5):
        assert stored(content, content.id, "t", length_seconds, NOW_US).play_s == content.play_s
    assert stored(content, content.id, "t", 2**31 - 1, NOW_US).play_s <= 12 * 3600
    assert stored(content, content.id, "t", 90, NOW_US).play_s == 90


def test_an_edit_changes_title_or_length_and_never_who_it_is() -> None:
    """Id, slug and type stay; titles do not grow with every edit."""
    rng = random.Random(3)
    before = first = catalogue(NOW_US)[0]
    for _ in range(200):
        after = edited(before, rng)
        assert (after.id, after.slug, after.content_type) == (first.id, first.slug, first.content_type)
        assert len(after.title) < len(first.title) + 20
        before = after
    assert (before.title, before.length_seconds) != (first.title, first.length_seconds)


def test_a_new_item_is_out_at_once() -> None:
    """And is somebody else than all others."""
    item = published(5_000, NOW_US, random.Random(1))
    assert item.publish_ts_us == NOW_US
    assert item.slug not in {content.slug for content in catalogue(NOW_US)}


def test_changes_come_as_often_as_asked_for() -> None:
    """60 a minute give about 600 in ten minutes, new and edited ones; 0 gives none."""
    editor, never = Editor(1, 60.0), Editor(1, 0.0)
    contents = catalogue(NOW_US)
    changes = []
    for tick in range(60_000):
        change = editor.due(tick / 100, contents, NOW_US)
        contents = change.contents or contents
        changes.append(change)
        assert never.due(tick / 100, contents, NOW_US).contents is None
    assert 500 < sum(change.contents is not None for change in changes) < 700
    new = sum(change.new is not None for change in changes)
    assert 80 < new < 220
    assert len(contents) == len(catalogue(NOW_US)) + new

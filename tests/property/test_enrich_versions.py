"""Packed versions against a plain dict of lists."""

from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.enrich.versions import Version, Versions

_numbers = st.none() | st.integers(-(2**70), 2**70)  # other writers' too, larger than a database holds
_texts = st.none() | st.text(max_size=20) | st.just("\ud800")
_versions = st.builds(
    Version,
    position=st.tuples(st.integers(1, 6) | st.just(2**80), st.integers(0, 3)),
    exists=st.booleans(),
    created=st.booleans(),
    slug=_texts,
    title=_texts,
    length_seconds=_numbers,
    problem=st.none() | st.tuples(st.text(max_size=5), st.text(max_size=5)),
)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), _versions, st.text("abcd", max_size=30)), max_size=30),
    st.integers(0, 3),
)
def test_what_was_put_in_is_what_is_there(steps: list[tuple[str, Version, str]], stay_unpacked: int) -> None:
    """In whatever order versions come and repeat, whoever asked in between, and however few stay unpacked."""
    versions, plain = Versions(stay_unpacked), dict[str, list[Version]]()
    for content_id, version, asked in steps:
        versions.insert(content_id, version)
        others = [old for old in plain.get(content_id, []) if old.position != version.position]
        plain[content_id] = sorted([*others, version], key=lambda each: each.position)
        assert [versions.get(each, ()) for each in asked] == [plain.get(each, ()) for each in asked]
        assert versions.newest(content_id) == plain[content_id][-1]
    assert dict(versions.items()) == plain
    assert [versions.get(content_id, ()) for content_id in "abcd"] == [
        plain.get(content_id, ()) for content_id in "abcd"
    ]


def test_more_contents_than_are_kept_unpacked() -> None:
    """All of them answer, again and again."""
    versions = Versions()
    for number in range(12_000):
        versions.insert(str(number), Version((number, 2), exists=True, title=f"title {number}"))
    for _ in range(5):  # often enough that those which stay unpacked are chosen anew
        assert [versions[str(number)][0].title for number in range(12_000)] == [f"title {n}" for n in range(12_000)]

"""Whatever the endpoint refuses and wherever we crash, a lane delivers each record, in order, or names it."""

from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.model.engagement import SNAPSHOT, encode_enriched
from engagement_stream.sinks.base import Checkpoint, Slice
from engagement_stream.sinks.http.lane import Lane, Limits
from engagement_stream.sinks.http.plan import batch_length, planned
from tests.fixtures.http import engagement


def _slice(start: int, kinds: list[str]) -> Slice:
    values = [
        b"{" if kind == "torn" else encode_enriched(engagement(n, source=SNAPSHOT if kind == "old" else "live"))
        for n, kind in enumerate(kinds)
    ]
    whole = Slice(0, 0, 2 * len(kinds) + 1, [2 * n for n in range(len(kinds))], values)
    return whole.after(start)


@given(
    kinds=st.lists(st.sampled_from(["good", "good", "good", "bad", "old", "torn"]), max_size=60),
    batch_size=st.integers(1, 20),
    max_bytes=st.integers(1, 20_000),
    crashes=st.sets(st.integers(0, 80)),
    history=st.booleans(),
)
def test_every_record_is_delivered_once_in_order_or_dead_lettered(
    kinds: list[str], batch_size: int, max_bytes: int, crashes: set[int], history: bool
) -> None:
    """Batches with a bad record are refused; any step may be a crash; repeats are known by their ids."""
    lane = Lane("t", 0, Checkpoint(0), None)
    delivered: list[int] = []
    letters: list[int] = []
    offered: dict[tuple[int, int], list[int]] = {}
    limits = Limits(batch_size, max_bytes, history)
    for step in range(2_000):
        if step in crashes:
            lane = Lane("t", 0, lane.committed, planned(lane.committed))
            limits = Limits(21 - limits.batch_size, max_bytes, history)
        lane.offer(_slice(lane.position, kinds))
        lane.prepare(limits)
        letters += [letter.offset for letter in lane.letters]
        lane.letters = []
        lane.committed = lane.desired()
        if lane.plan is None:
            break
        batch = [offset for offset, _, _ in lane.batch]
        if not batch:
            continue
        assert offered.setdefault((lane.plan.start, lane.plan.end), batch) == batch
        if all(kinds[offset // 2] != "bad" for offset in batch):
            lane.settle()
            delivered += [offset for offset in batch if offset not in delivered]
        elif len(batch) > 1:
            lane.halve(suspect=True)
        else:
            lane.refuse("refused", "400")
    else:
        raise AssertionError("it never ends")
    wanted = {"good", "old"} if history else {"good"}
    assert delivered == [2 * n for n, kind in enumerate(kinds) if kind in wanted]
    assert sorted(set(letters)) == [2 * n for n, kind in enumerate(kinds) if kind in {"bad", "torn"}]
    assert lane.position == 2 * len(kinds) + 1


@given(sizes=st.lists(st.integers(1, 100), min_size=1), batch_size=st.integers(1, 50), max_bytes=st.integers(1, 500))
def test_a_batch_keeps_both_limits_but_holds_at_least_one(sizes: list[int], batch_size: int, max_bytes: int) -> None:
    """And is never shorter than it has to be."""
    count = batch_length(sizes, batch_size, max_bytes)
    assert 1 <= count <= min(len(sizes), batch_size)
    assert count == 1 or sum(sizes[:count]) <= max_bytes
    assert count == min(len(sizes), batch_size) or sum(sizes[: count + 1]) > max_bytes

"""Whatever the content and the luck, a session could have happened."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from engagement_stream.generate.population import catalogue, stored
from engagement_stream.generate.sessions import plan

_CONTENTS = catalogue(1_790_000_000_000_000)
_any_content = st.builds(
    lambda content, length: stored(content, content.id, content.title, length, content.publish_ts_us),
    st.sampled_from(_CONTENTS),
    st.none() | st.integers(-(2**31), 2**31 - 1),
)


@given(content=_any_content, seed=st.integers(0, 2**32))
def test_nobody_plays_longer_than_there_is(content: object, seed: int) -> None:
    """No negative duration, no sum of them above the content's own, nothing PostgreSQL's INTEGER cannot hold."""
    assert isinstance(content, type(_CONTENTS[0]))
    steps = plan(content, random.Random(seed))
    durations = [step.duration_ms or 0 for step in steps]
    assert all(duration >= 0 for duration in durations)
    assert sum(durations) <= content.play_s * 1000 < 2**31
    assert all(0 <= step.position_ms <= content.play_s * 1000 for step in steps)


@given(content=_any_content, seed=st.integers(0, 2**32))
def test_a_session_follows_the_rules_of_a_player(content: object, seed: int) -> None:
    """It begins at 0 with a play or clicks, time goes on, plays alternate with pauses, a finish is the end."""
    assert isinstance(content, type(_CONTENTS[0]))
    steps = plan(content, random.Random(seed))
    assert steps[0].at_ms == 0
    assert [step.at_ms for step in steps] == sorted(step.at_ms for step in steps)
    types = [step.event_type for step in steps]
    if "click" in types:
        assert set(types) == {"click"}
        assert all(step.duration_ms is None for step in steps)
    else:
        assert types[::2] == ["play"] * len(types[::2])
        assert set(types[1::2]) <= {"pause", "finish"}
        assert "finish" not in types[:-1]


@given(seed=st.integers(0, 2**32))
def test_one_seed_one_session(seed: int) -> None:
    """Also for an equal copy of the content."""
    content = _CONTENTS[seed % len(_CONTENTS)]
    assert plan(content, random.Random(seed)) == plan(replace(content), random.Random(seed))

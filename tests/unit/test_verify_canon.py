"""One form for each value: what is the same is equal, what differs is not."""

import msgspec
import pytest

from engagement_stream.verify.canon import canonical, canonical_json, digests, plain_zero
from tests.fixtures.engagements import engagement


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ('{"b": 1, "a": [1.50, null]}', '{"a":[1.5,null],"b":1}'),
        ("1e30", "1000000000000000000000000000000"),
        ("12345678901234567890.123", "1.2345678901234567e+19"),
        ("1.0", "1"),
        ('"\\u00e9"', '"é"'),
        ("not JSON", "not JSON"),
    ],
)
def test_equal_json_has_one_form(here: str, there: str) -> None:
    """Whatever the order of keys and the spelling of numbers."""
    assert canonical_json(here) == canonical_json(there)


@pytest.mark.parametrize(
    ("here", "there"), [('{"a":1}', '{"a":2}'), ("1", '"1"'), ("null", None), ("[1,2]", "[2,1]"), ("0.1", "0.2")]
)
def test_other_json_has_another_form(here: str, there: str | None) -> None:
    """JSON null is not SQL NULL either."""
    assert canonical_json(here) != canonical_json(there)


def test_minus_zero_is_zero_and_null_stays_null() -> None:
    """Some stores know no minus zero."""
    assert str(plain_zero(-0.0)) == "0.0"
    assert plain_zero(None) is None


@pytest.mark.parametrize(
    ("field", "value", "half"),
    [
        ("duration_ms", -1, 0),
        ("device", None, 0),
        ("event_ts", "2025-08-01T00:00:00.000001Z", 0),
        ("raw_payload", None, 0),
        ("title", "another", 1),
        ("engagement_pct", 1.0000000000000002, 1),
        ("commit_ts_us", 5, 1),
        ("source", "snapshot", 1),
    ],
)
def test_each_changed_field_changes_its_half_and_only_that(field: str, value: object, half: int) -> None:
    """The smallest difference of a double counts; minus one is told from minus two."""
    event = msgspec.structs.replace(engagement(1), duration_ms=-2)
    (before,), (after,) = (digests(canonical([e])) for e in (event, msgspec.structs.replace(event, **{field: value})))
    assert before[half] != after[half]
    assert before[1 - half] == after[1 - half]

"""The bytes of a request: CloudEvents, keys, headers."""

from datetime import UTC, datetime

import httpcore
import msgspec
import pytest
from standardwebhooks import Webhook

from engagement_stream.errors import ConfigurationError, Fatal, Retry
from engagement_stream.model.engagement import encode_enriched
from engagement_stream.settings import HttpSettings
from engagement_stream.sinks.base import Checkpoint
from engagement_stream.sinks.http import HttpSink
from engagement_stream.sinks.http.caution import REFUSALS_IN_A_ROW, Caution
from engagement_stream.sinks.http.errors import translated
from engagement_stream.sinks.http.plan import Plan, checkpoint, planned
from engagement_stream.sinks.http.request import CONTENT_TYPE, Headers, batch_body, idempotency_key
from tests.fixtures.http import as_sent, engagement

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUA=="


def test_a_batch_is_cloudevents_with_the_record_as_it_came() -> None:
    """Every required attribute, the content as subject and partition key."""
    event = engagement(7, content=3)
    value = encode_enriched(event)
    (made,) = msgspec.json.decode(batch_body("engagement-enriched", [as_sent(event)]))
    assert made == {
        "specversion": "1.0",
        "id": "7",
        "source": "/engagement-stream/engagement-enriched",
        "type": "engagement.play",
        "subject": event.content_id,
        "time": event.event_ts,
        "partitionkey": event.content_id,
        "data": msgspec.json.decode(value),
    }
    assert b'"data":' + value + b"}]" in batch_body("engagement-enriched", [as_sent(event)])


def test_an_event_without_content_or_type_still_is_a_valid_cloudevent() -> None:
    """No empty subject; its own id is the partition key, as it is Kafka's."""
    event = engagement(7, content_id=None, event_type=None)
    (made,) = msgspec.json.decode(batch_body("t", [as_sent(event)]))
    assert "subject" not in made
    assert (made["type"], made["partitionkey"]) == ("engagement.unknown", "7")


def test_the_same_batch_has_the_same_bytes_and_key_and_another_one_has_not() -> None:
    """A topic made anew starts over with the same offsets: its keys must be others."""
    one, other = engagement(1), engagement(2)
    bodies = [batch_body("t", [as_sent(e)]) for e in (one, one, other)]
    keys = [idempotency_key("a.b", 3, Plan(10, 11, history=False), body) for body in bodies]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0].startswith("a%2Eb/3/10-11/v1/")
    assert "." not in keys[0]


def test_a_receiver_verifies_the_signature_with_the_library_of_the_standard() -> None:
    """And the timestamp is the attempt's."""
    event = engagement(1)
    body = batch_body("t", [as_sent(event)])
    headers = Headers(url="https://x", secret=SECRET, token="tok").of("key", body, datetime.now(UTC).timestamp())
    given = {str(name): str(value) for name, value in headers.items()}
    Webhook(SECRET).verify(body, given)
    assert given["Idempotency-Key"] == given["Webhook-Id"] == "key"
    assert given["Content-Type"] == CONTENT_TYPE
    assert given["Authorization"] == "Bearer tok"
    assert given["User-Agent"].startswith("engagement-stream/")


def test_without_a_secret_nothing_is_signed_and_a_user_in_the_url_authenticates() -> None:
    """Basic authentication as URLs have always carried it."""
    headers = Headers(url="https://a%40b:c@x/y", secret="", token="").of("key", b"[]", 1.0)
    assert "Webhook-Signature" not in headers
    assert headers["Authorization"] == "Basic YUBiOmM="


@pytest.mark.parametrize(
    "changes", [{"EXTERNAL_API_SECRET": "whsec_%"}, {"EXTERNAL_API_TOKEN": "a\r\nb"}, {"EXTERNAL_API_URL": None}]
)
def test_settings_that_cannot_work_are_named_before_anything_is_sent(changes: dict[str, str | None]) -> None:
    """The message names the variable, never its value."""
    values = {"EXTERNAL_API_URL": "http://localhost:1/x", **changes}
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        HttpSink(HttpSettings.model_validate(values))


@pytest.mark.parametrize("metadata", ["", "{}", "not json", '{"v":1,"f":1,"end":5,"history":false}'])
def test_metadata_that_plans_nothing_leaves_the_offset_as_the_position(metadata: str) -> None:
    """Missing, foreign, or a plan that is behind."""
    assert planned(Checkpoint(5, metadata)) is None


def test_a_plan_of_a_newer_release_halts_instead_of_sending_other_bytes() -> None:
    """With a remedy."""
    with pytest.raises(Fatal) as caught:
        planned(Checkpoint(5, '{"v":1,"f":2,"end":9,"history":false}'))
    assert "newer release" in caught.value.remedy


def test_a_plan_fits_into_the_metadata_of_an_offset() -> None:
    """4,096 bytes are the broker's limit."""
    assert len(checkpoint(2**62, Plan(2**62, 2**63 - 1, history=True)).metadata) < 200


def _subclasses(of: type[Exception]) -> set[type[Exception]]:
    return {of} | {deeper for below in of.__subclasses__() for deeper in _subclasses(below)}


def test_every_error_of_the_client_is_translated() -> None:
    """Walks httpcore's classes, so that a new one is noticed."""
    known = {error for error in vars(httpcore).values() if isinstance(error, type) and issubclass(error, Exception)}
    for error in {deeper for one in known for deeper in _subclasses(one)} | {ConnectionResetError, TimeoutError}:
        with pytest.raises(Retry, match="https://host"), translated("https://host"):
            raise error("why")


def test_refusals_count_until_the_endpoint_takes_an_event() -> None:
    """Between two successes a bounded number of events may be set aside."""
    caution = Caution()
    assert [caution.may_dead_letter() for _ in range(REFUSALS_IN_A_ROW + 1)] == [True] * REFUSALS_IN_A_ROW + [False]
    caution.delivered()
    assert caution.may_dead_letter()


def test_the_longest_rest_that_was_asked_for_counts() -> None:
    """Two partitions, two answers; one success ends it."""
    caution = Caution()
    caution.failed("a", 10.0, now_s=100.0)
    caution.failed("b", 2.0, now_s=100.0)
    assert caution.rest_s(101.0) == 9.0
    assert caution.probing
    caution.delivered()
    assert (caution.rest_s(101.0), caution.probing) == (0.0, False)

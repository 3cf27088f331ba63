"""What the HTTP sink does with each kind of answer, seen from the receiver and from /health."""

import time
from collections.abc import Callable

from pydantic import SecretStr

from engagement_stream.observe.status import StageStatus
from engagement_stream.settings import HttpSettings, KafkaSettings
from engagement_stream.sinks.http.caution import REFUSALS_IN_A_ROW
from engagement_stream.stack.receiver import FailAfterWrite, HoldAnswer, ReceiverServer, Reject, SlowAnswer
from tests.fixtures.http import EnrichedTopic, dead_letters, engagement, http_stage, overlapping
from tests.fixtures.waiting import wait_until


def _waits_because(status: StageStatus, words: str) -> Callable[[], bool]:
    return lambda: status.report().state == "waiting" and words in status.report().reason


def _all_arrive(receiver: ReceiverServer, count: int) -> None:
    wait_until(lambda: receiver.stats().events == count, 30, f"{count} events arrive")


def test_a_lost_answer_does_not_double_an_event(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """The receiver acted and the connection broke: the same bytes come again under the same key."""
    enriched.put([engagement(n, content=n % 4) for n in range(100)])
    receiver.fail(FailAfterWrite(times=3))
    with http_stage(http_settings, kafka_settings):
        _all_arrive(receiver, 100)
    stats = receiver.stats(thorough=True)
    assert stats.received > 100
    assert (stats.differing_events, stats.differing_requests, stats.disorder) == (0, 0, 0)
    assert overlapping(receiver.requests()) == []


def test_retry_after_is_obeyed_and_nobody_knocks_before(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """Seconds asked for by 429 are waited for, although the back-off alone would be far shorter."""
    enriched.put([engagement(n) for n in range(10)])
    receiver.fail(Reject(status=429, retry_after="2"))
    with http_stage(http_settings, kafka_settings) as status:
        wait_until(_waits_because(status, "asked for 2 s of rest"), 20, "it rests")
        began_s = time.monotonic()
        _all_arrive(receiver, 10)
        assert time.monotonic() - began_s > 1.5
    assert receiver.stats().requests == 1


def test_an_outage_is_probed_by_one_request_at_a_time(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """Four partitions wait; after the first failure each attempt costs one fault, until one succeeds."""
    enriched.put([engagement(n, content=n % 4) for n in range(40)])
    receiver.fail(Reject(status=503, times=4 + 5))
    with http_stage(http_settings, kafka_settings):
        _all_arrive(receiver, 40)
    assert receiver.waiting_faults() == []
    assert dead_letters(kafka_settings) == []


def test_an_expired_token_holds_the_stream_and_dead_letters_nothing(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """401 for a while, visible in /health with what to check; then everything arrives."""
    enriched.put([engagement(n, content=n % 4) for n in range(40)])
    receiver.fail(Reject(status=401, times=0))
    with http_stage(http_settings, kafka_settings) as status:
        wait_until(_waits_because(status, "check EXTERNAL_API_TOKEN"), 20, "it says why it waits")
        receiver.behave()
        _all_arrive(receiver, 40)
    assert dead_letters(kafka_settings) == []


def test_a_wrong_secret_is_noticed_by_the_receiver(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """The signature is verified for real, and the secret stands in no reason."""
    secret = "whsec_" + "QUJDREVGR0hJSktMTU5PUA=="
    wrong = http_settings.model_copy(update={"secret": SecretStr(secret)})
    enriched.put([engagement(1)])
    with http_stage(wrong, kafka_settings) as status:
        wait_until(_waits_because(status, "answered 401"), 20, "the signature is refused")
        assert secret not in str(status.report())
    assert receiver.stats().events == 0


def test_a_redirect_is_not_followed(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """Wherever it leads: the operator has to say so."""
    enriched.put([engagement(1)])
    receiver.fail(Reject(status=307, location=receiver.url))
    with http_stage(http_settings, kafka_settings) as status:
        wait_until(_waits_because(status, "redirects are not followed"), 20, "it holds")
        assert receiver.stats().requests == 0
        _all_arrive(receiver, 1)


def test_a_batch_that_is_too_large_is_halved(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """413 for anything above three events: smaller batches, all delivered, in order, none dead-lettered."""
    enriched.put([engagement(n) for n in range(40)])
    receiver.fail(Reject(status=413, times=0, min_events=4))
    with http_stage(http_settings, kafka_settings):
        _all_arrive(receiver, 40)
    stats = receiver.stats(thorough=True)
    assert (stats.received, stats.disorder) == (40, 0)
    assert dead_letters(kafka_settings) == []


def test_a_refused_event_is_dead_lettered_and_the_rest_is_delivered(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """Two poisoned events in one batch, one of them alone too large; in = delivered + dead-lettered."""
    enriched.put([engagement(n) for n in range(40)])
    echoed = http_settings.secret.get_secret_value()
    receiver.fail(
        Reject(status=422, times=0, event_id="13", text=f"field x is wrong {echoed} " + "y" * 9000),
        Reject(status=413, times=0, event_id="17"),
    )
    with http_stage(http_settings, kafka_settings):
        _all_arrive(receiver, 38)
    letters = {headers["offset"]: headers for _, headers, _ in dead_letters(kafka_settings)}
    assert {offset: headers["reason"] for offset, headers in letters.items()} == {"13": "refused", "17": "too large"}
    detail = letters["13"]["detail"]
    assert detail.startswith("422 field x is wrong *** y")
    assert len(detail) < 600
    assert receiver.stats(thorough=True).disorder == 0


def test_an_endpoint_that_refuses_everything_does_not_swallow_the_stream(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """A wrong URL that says 400 to all: a few letters, then it holds until one event is taken."""
    enriched.put([engagement(n, content=n % 4) for n in range(200)])
    receiver.fail(Reject(status=400, times=0))
    with http_stage(http_settings, kafka_settings) as status:
        wait_until(_waits_because(status, "single events in a row"), 20, "it suspects the endpoint")
        receiver.behave()
        _all_arrive(receiver, 200 - REFUSALS_IN_A_ROW)
    assert len(dead_letters(kafka_settings)) == REFUSALS_IN_A_ROW
    assert receiver.stats(thorough=True).disorder == 0


def test_a_record_that_cannot_be_read_is_dead_lettered_with_its_bytes(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """Not JSON at all; its neighbours are delivered."""
    enriched.put([engagement(1), b'{"v":1,', engagement(2)], partition=0)
    with http_stage(http_settings, kafka_settings):
        _all_arrive(receiver, 2)
        wait_until(lambda: dead_letters(kafka_settings), 10, "the letter is written")
    ((name, headers, value),) = dead_letters(kafka_settings)
    assert (name.split("/")[0], headers["reason"], value) == ("http", "malformed", b'{"v":1,')


def test_an_answer_that_trickles_is_given_up_at_the_deadline(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """A byte now and then keeps a per-read timeout happy for ever; ours is for the whole request."""
    hasty = http_settings.model_copy(update={"timeout_s": 0.5})
    enriched.put([engagement(1)])
    receiver.fail(SlowAnswer(seconds_per_byte=0.3), HoldAnswer(seconds=1.5))
    with http_stage(hasty, kafka_settings):
        began_s = time.monotonic()
        wait_until(lambda: [times for _, times, _ in receiver.requests()] == [3], 20, "the same bytes come again")
        assert time.monotonic() - began_s < 8


def test_a_frozen_batch_stays_as_it_was_whatever_the_settings_say_now(
    receiver: ReceiverServer, enriched: EnrichedTopic, http_settings: HttpSettings, kafka_settings: KafkaSettings
) -> None:
    """Stopped while the receiver was away: the first request afterwards is the batch of before."""
    enriched.put([engagement(n, source="snapshot" if n in {3, 4} else "live") for n in range(30)], partition=0)
    receiver.fail(HoldAnswer(seconds=2), Reject(status=503, times=0))
    hasty = http_settings.model_copy(update={"timeout_s": 0.5})
    with http_stage(hasty, kafka_settings) as status:
        wait_until(_waits_because(status, "answered 503"), 20, "the first batch hung, then the receiver is away")
    receiver.behave()
    with http_stage(http_settings.model_copy(update={"batch_size": 3, "send_history": True}), kafka_settings):
        _all_arrive(receiver, 28)
    first, *_ = sorted(receiver.requests(), key=lambda request: int(request[0].split("/")[2].split("-")[0]))
    assert first[0].split("/")[1:3] == ["0", "0-12"]
    assert first[1:] == (2, 0)
    assert overlapping(receiver.requests()) == []

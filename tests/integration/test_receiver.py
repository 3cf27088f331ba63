"""The receiver: what it has acknowledged survives SIGKILL, and it takes nothing unsigned."""

import threading
import time
from collections.abc import Mapping

import httpcore
import pytest

from engagement_stream.errors import Retry
from engagement_stream.sinks.http.endpoint import Endpoint
from engagement_stream.sinks.http.request import Headers, batch_body
from engagement_stream.stack.receiver import ReceiverServer
from tests.fixtures.http import as_sent, engagement


def _post(receiver: ReceiverServer, endpoint: Endpoint, first: int, count: int) -> int:
    events = [engagement(number) for number in range(first, first + count)]
    body = batch_body("t", [as_sent(event) for event in events])
    headers = Headers(url=receiver.url, secret=receiver.secret, token="")
    return endpoint.post(body, headers.of(f"t/0/{first}-{first + count}/v1/x", body, time.time())).status


def test_nothing_acknowledged_is_lost_when_it_is_killed(receiver: ReceiverServer) -> None:
    """Killed in the middle of a stream of batches; started again over the same file."""
    endpoint = Endpoint(receiver.url, connections=1, timeout_s=5)
    acknowledged: list[int] = []

    def send() -> None:
        first = 0
        while True:
            try:
                assert _post(receiver, endpoint, first, 50) == 204
            except Retry:
                return
            acknowledged.extend(range(first, first + 50))
            first += 50

    sender = threading.Thread(target=send)
    sender.start()
    while len(acknowledged) < 1_000:
        time.sleep(0.005)
    receiver.kill()
    sender.join()
    endpoint.close()
    receiver.start()
    stored = {int(event.id) for event in receiver.events()}
    assert set(acknowledged) <= stored
    assert len(stored) - len(acknowledged) in {0, 50}, "the batch whose answer was lost may be there, whole"
    assert receiver.stats().events == len(stored)


def test_repeats_and_disorder_are_counted(receiver: ReceiverServer) -> None:
    """The same event with another value under the same key, and an older event of the same content."""
    endpoint = Endpoint(receiver.url, connections=1, timeout_s=5)
    assert _post(receiver, endpoint, 10, 2) == 204
    assert _post(receiver, endpoint, 10, 2) == 204
    assert _post(receiver, endpoint, 5, 1) == 204
    headers = Headers(url=receiver.url, secret=receiver.secret, token="")
    other = engagement(10, duration_ms=1)
    body = batch_body("t", [as_sent(other)])
    assert endpoint.post(body, headers.of("t/0/10-12/v1/x", body, time.time())).status == 204
    stats = receiver.stats(thorough=True)
    assert (stats.events, stats.received, stats.requests) == (3, 6, 4)
    assert (stats.differing_events, stats.differing_requests, stats.disorder) == (1, 1, 1)
    assert [(event.id, event.received) for event in receiver.events()] == [("10", 3), ("11", 2), ("5", 1)]
    endpoint.close()


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"Webhook-Signature": "v1,AAAA"}, 401), ({"Webhook-Timestamp": "1"}, 401), ({"Webhook-Id": "other"}, 401)],
)
def test_what_is_not_signed_for_now_is_refused(
    receiver: ReceiverServer, changes: Mapping[bytes | str, bytes | str], status: int
) -> None:
    """A wrong signature, an old timestamp, another id; nothing of it is stored."""
    endpoint = Endpoint(receiver.url, connections=1, timeout_s=5)
    headers = Headers(url=receiver.url, secret=receiver.secret, token="").of("key", b"[]", time.time())
    assert endpoint.post(b"[]", {**headers, **changes}).status == status
    assert endpoint.post(b"[]", headers).status == 204
    endpoint.close()
    assert receiver.stats().requests == 1


def test_nonsense_is_answered_and_does_no_harm(receiver: ReceiverServer) -> None:
    """Paths, bodies and methods that do not exist."""
    base = receiver.url.removesuffix("/events")
    with httpcore.ConnectionPool() as pool:
        assert pool.request("POST", f"{base}/nowhere", content=b"x").status == 404
        assert pool.request("GET", f"{base}/events?after=x").status == 400
        assert pool.request("POST", f"{base}/faults", content=b'[{"fault":"explode"}]').status == 400
        assert pool.request("PUT", f"{base}/events", content=b"x").status == 501
    assert receiver.stats().requests == 0

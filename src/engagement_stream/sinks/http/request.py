"""A request's bytes: CloudEvents 1.0 in JSON batch format, the key that names the batch, the headers.

Pure, and the same for the same records always: the enriched record is spliced in as the bytes it came in.
Sources: CloudEvents JSON format 1.0.2 section 4 (batch); Standard Webhooks; draft-ietf-httpapi-idempotency-key-header.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

import msgspec

from engagement_stream import __version__
from engagement_stream.model.signature import Signer
from engagement_stream.sinks.http.plan import Plan

CONTENT_TYPE = "application/cloudevents-batch+json"
ENVELOPE_BYTES = 420
"""What the envelope adds to a record, at most, for typical ids; batches are cut with it."""

_text = msgspec.json.Encoder().encode


class HttpEvent(msgspec.Struct, frozen=True, gc=False):
    """The part of an Engagement that the envelope tells; the rest goes out as it came, undecoded."""

    event_id: int
    content_id: str | None
    event_type: str | None
    event_ts: str
    commit_ts_us: int
    source: str


decode_event = msgspec.json.Decoder(HttpEvent).decode
"""bytes -> HttpEvent; raises msgspec.MsgspecError."""


@lru_cache(maxsize=256)
def _type(event_type: str | None) -> bytes:
    return _text(f"engagement.{event_type or 'unknown'}")


def _until_data(source: bytes, event: HttpEvent) -> bytes:
    """One event up to its data; `source` is JSON text."""
    if event.content_id is None:
        subject, key = b"", b'"%d"' % event.event_id
    else:
        key = _text(event.content_id)
        subject = b'"subject":%b,' % key
    return b'{"specversion":"1.0","id":"%d","source":%b,"type":%b,%b"time":%b,"partitionkey":%b,"data":' % (
        event.event_id,
        source,
        _type(event.event_type),
        subject,
        _text(event.event_ts),
        key,
    )


def batch_body(topic: str, records: Sequence[tuple[bytes, HttpEvent]]) -> bytes:
    """The JSON array of one request; each record's own bytes are copied once, into their place."""
    if not records:
        return b"[]"
    source = _text(f"/engagement-stream/{topic}")
    pieces = [b"["]
    for value, event in records:
        pieces += (_until_data(source, event), value, b"},")
    pieces[-1] = b"}]"
    return b"".join(pieces)


def idempotency_key(topic: str, partition: int, plan: Plan, body: bytes) -> str:
    """`topic/partition/start-end/v1/digest`: the same for the same bytes, across processes and releases.

    The digest keeps a topic that was made anew, whose offsets start over, from using the old one's keys. There is no
    full stop in it: in a webhook's signed text it divides the id from the timestamp.
    """
    digest = hashlib.sha256(body).hexdigest()[:16]
    name = quote(topic, safe="").replace(".", "%2E")
    return f"{name}/{partition}/{plan.start}-{plan.end}/v{plan.format}/{digest}"


class Headers:
    """The headers of every request; holds the secrets, and shows none of them."""

    def __init__(self, *, url: str, secret: str, token: str) -> None:
        """Raises ValueError for a secret that is not base64 (Standard Webhooks: `whsec_...`)."""
        self._signer = Signer(secret) if secret else None
        self._fixed: dict[bytes | str, bytes | str] = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": f"engagement-stream/{__version__}",
        }
        if token:
            self._fixed["Authorization"] = f"Bearer {token}"
        elif (parts := urlsplit(url)).username is not None:
            pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            self._fixed["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def of(self, key: str, body: bytes, now_s: float) -> Mapping[bytes | str, bytes | str]:
        """For one attempt: the key is the batch's, the timestamp is the attempt's."""
        headers: dict[bytes | str, bytes | str] = {
            **self._fixed,
            "Idempotency-Key": key,
            "Webhook-Id": key,
            "Webhook-Timestamp": str(int(now_s)),
        }
        if self._signer is not None:
            headers["Webhook-Signature"] = self._signer.sign(key, int(now_s), body)
        return headers

"""The endpoint: one pool of kept-alive connections, one POST at a time per thread."""

import contextlib
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpcore
import httpx

from engagement_stream.sinks.http.answer import Answer
from engagement_stream.sinks.http.deadline import DeadlineBackend
from engagement_stream.sinks.http.errors import FOREIGN, translated

_KEEP_ALIVE_S = 15.0
_BODY_READ_BYTES = 4_096
_TEXT_CHARACTERS = 500


class Endpoint:
    """Where batches go. TLS certificates are always checked (SSL_CERT_FILE adds a CA of one's own)."""

    def __init__(self, url: str, *, connections: int, timeout_s: float, hidden: tuple[str, ...] = ()) -> None:
        parts = urlsplit(url)
        self.where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        """Scheme, host and port: what may be shown. Paths and queries may hold tokens."""
        self._url = url
        self._timeout_s = timeout_s
        self._hidden = tuple(text for text in hidden if text)
        self._network = DeadlineBackend()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context() if parts.scheme == "https" else None,
            max_connections=connections,
            keepalive_expiry=_KEEP_ALIVE_S,
            network_backend=self._network,
        )

    def post(self, body: bytes, headers: Mapping[bytes | str, bytes | str]) -> Answer:
        """Send it and return the answer, whatever its status. Raises Retry when there is none in time."""
        with (
            translated(self.where),
            self._network.within(self._timeout_s),
            self._pool.stream("POST", self._url, headers=headers, content=body) as response,
        ):
            given = {name.lower(): value for name, value in response.headers}
            status = response.status
            text = _beginning(response)
        after = given.get(b"retry-after")
        return Answer(status, after.decode("latin-1") if after else None, "" if status < 400 else self._shown(text))

    def _shown(self, text: bytes) -> str:
        shown = text[:_BODY_READ_BYTES].decode("utf-8", "replace")
        for secret in self._hidden:
            shown = shown.replace(secret, "***")  # a receiver may echo our headers
        return " ".join(shown.split())[:_TEXT_CHARACTERS]

    def close(self) -> None:
        """Drop all connections; a later `post` opens new ones."""
        self._pool.close()


def _beginning(response: httpcore.Response) -> bytes:
    """The body to its end, so that the connection can be used again, but no more than a little of it.

    The status has said everything: a body that breaks off or never ends changes nothing.
    """
    text = b""
    with contextlib.suppress(*FOREIGN):
        for piece in response.iter_stream():
            text += piece
            if len(text) > _BODY_READ_BYTES:
                break
    return text

"""The receiver's process: `python -m engagement_stream.stack.receiver.server DIRECTORY PORT`.

POST /events                takes a CloudEvents batch; 204 once it is durable
GET  /stats[?thorough=1]    counts
GET  /events?after=&limit=  what is remembered, in the order of arrival
GET  /requests              idempotency keys and how often each came
POST, GET, DELETE /faults     what to do wrong (faults.py)
"""

import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from engagement_stream.model.signature import Signer
from engagement_stream.stack.receiver.faults import (
    FailAfterWrite,
    FaultQueue,
    HoldAnswer,
    Reject,
    SlowAnswer,
    decode_faults,
)
from engagement_stream.stack.receiver.store import Store, decode_batch

MAX_BODY_BYTES = 64 << 20
SECRET_FILE = "secret"  # noqa: S105 - a file's name
STORE_FILE = "events.sqlite"
_IDLE_S = 120.0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    rbufsize = 1 << 16
    store: ClassVar[Store]
    faults: ClassVar[FaultQueue]
    signer: ClassVar[Signer]

    def do_POST(self) -> None:
        if (body := self._body()) is None:
            return
        path = urlsplit(self.path).path
        if path == "/events":
            self._take_events(body)
        elif path == "/faults":
            self._queue_faults(body)
        else:
            self._answer(404)

    def _queue_faults(self, body: bytes) -> None:
        try:
            self.faults.add(decode_faults(body))
        except msgspec.MsgspecError as error:
            return self._answer(400, str(error).encode())
        return self._answer(204)

    def do_DELETE(self) -> None:
        self.faults.clear()
        self._answer(204)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            if parts.path == "/stats":
                self._json(self.store.stats(thorough=query.get("thorough") == "1"))
            elif parts.path == "/events":
                self._json(self.store.events(int(query.get("after", 0)), min(int(query.get("limit", 1_000)), 50_000)))
            elif parts.path == "/requests":
                self._json(self.store.requests())
            elif parts.path == "/faults":
                self._json(self.faults.waiting())
            elif parts.path == "/health":
                self._json({"status": "ok"})
            else:
                self._answer(404)
        except ValueError as error:
            self._answer(400, str(error).encode())

    def _take_events(self, body: bytes) -> None:
        key = self.headers.get("idempotency-key", "")
        given = self.headers
        if not self.signer.verifies(
            given.get("webhook-id", ""), given.get("webhook-timestamp", ""), given.get("webhook-signature", ""), body
        ):
            return self._answer(401, b"the signature is not ours")
        try:
            events = decode_batch(body)
        except (msgspec.MsgspecError, ValueError) as error:
            return self._answer(400, str(error).encode())
        fault = self.faults.take(event.id for event in events)
        if isinstance(fault, Reject):
            more = {"Retry-After": fault.retry_after, "Location": fault.location}
            return self._answer(fault.status, fault.text.encode(), {k: v for k, v in more.items() if v is not None})
        self.store.put(key, body, events)
        match fault:
            case FailAfterWrite():
                return self._hang_up()
            case HoldAnswer(seconds=seconds):
                time.sleep(seconds)
            case SlowAnswer(seconds_per_byte=pause_s):
                return self._trickle(pause_s)
            case _:
                pass
        return self._answer(204)

    def _body(self) -> bytes | None:
        length = self.headers.get("content-length", "")
        if not length.isdigit():
            self._answer(411)
        elif int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(413)
        else:
            return self.rfile.read(int(length))
        return None

    def _json(self, value: object) -> None:
        self._answer(200, msgspec.json.encode(value), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """One write: a second one would wait for the first one's acknowledgement (Nagle)."""
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        length = "" if status == 204 else f"Content-Length: {len(body)}\r\n"
        closing = "Connection: close\r\n" if self.close_connection else ""
        self.wfile.write(f"HTTP/1.1 {status} .\r\n{more}{length}{closing}\r\n".encode("latin-1") + body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _trickle(self, pause_s: float) -> None:
        for byte in b"HTTP/1.1 204 .\r\n\r\n":
            self.wfile.write(bytes([byte]))
            time.sleep(pause_s)

    def log_message(self, *_args: object) -> None:
        """Say nothing: a healthy receiver is quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_args: object) -> None:
        """Clients that hang up are everyday life; anything else is worth its traceback."""
        if not isinstance(sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1], OSError):
            super().handle_error(*_args)  # type: ignore[arg-type]  # passed on as they came


def serve(directory: Path, secret: str, host: str, port: int) -> None:
    """Serve until killed: nothing is held in memory, so any end is a clean one."""
    _Handler.store = Store(directory / STORE_FILE)
    _Handler.faults = FaultQueue()
    _Handler.signer = Signer(secret)
    with _Server((host, port), _Handler) as server:
        server.serve_forever(poll_interval=3600)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    serve(place, (place / SECRET_FILE).read_text().strip(), "127.0.0.1", int(sys.argv[2]))

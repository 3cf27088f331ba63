"""One deadline over everything a request does on the network.

Timeouts of HTTP clients hold per read, so a server that sends a byte a second is never too slow for them. Here
each read and write gets what is left until the deadline that its thread has set. Only name resolution has bounds
of its own (the system's resolver).
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
from httpcore import SOCKET_OPTION, NetworkBackend, NetworkStream, SyncBackend


class DeadlineBackend(NetworkBackend):
    """Plain sockets that obey the calling thread's deadline."""

    def __init__(self) -> None:
        self._plain = SyncBackend()
        self._until = threading.local()

    @contextmanager
    def within(self, timeout_s: float) -> Iterator[None]:
        """Everything this thread does in the block ends within `timeout_s`, or raises httpcore.TimeoutException."""
        self._until.s = time.monotonic() + timeout_s
        try:
            yield
        finally:
            del self._until.s

    def left_s(self) -> float:
        """Seconds left; raises httpcore.ReadTimeout when there are none."""
        left_s = float(self._until.s) - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout("the deadline of the request is over")
        return left_s

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        del timeout
        stream = self._plain.connect_tcp(host, port, self.left_s(), local_address, socket_options)
        return _DeadlineStream(stream, self)


class _DeadlineStream(NetworkStream):
    def __init__(self, stream: NetworkStream, backend: DeadlineBackend) -> None:
        self._stream, self._backend = stream, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        return self._stream.read(max_bytes, self._backend.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # The plain stream's own loop would give every piece the whole time again.
        del timeout
        connection: socket.socket = self._stream.get_extra_info("socket")
        view = memoryview(buffer)
        try:
            while view:
                connection.settimeout(self._backend.left_s())
                view = view[connection.send(view) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        del timeout
        secured = self._stream.start_tls(ssl_context, server_hostname, self._backend.left_s())
        return _DeadlineStream(secured, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

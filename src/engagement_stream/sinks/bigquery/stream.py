"""One AppendRows connection to one write stream: requests in, answers out, no wait without an end.

The client library neither reconnects nor repeats for us (python-bigquery-storage #315, #593); whoever uses this does,
by closing it and making another.
"""

import contextlib
import queue
import threading
import time

import grpc
from google.cloud.bigquery_storage_v1 import types

from engagement_stream.sinks.bigquery.client import WriteChannel
from engagement_stream.sinks.bigquery.frame import Frame

_GOODBYE_S = 1.0


class Connection:
    """Answers come in the order of the requests."""

    def __init__(self, channel: WriteChannel, stream: str) -> None:
        self._channel, self._stream = channel, stream
        self._requests: queue.SimpleQueue[types.AppendRowsRequest | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[types.AppendRowsResponse | grpc.RpcError | None] = queue.SimpleQueue()
        self._call: grpc.Call | None = None
        self._receiver = threading.Thread(target=self._receive, daemon=True, name="bigquery-answers")
        self.used_s = time.monotonic()

    def send(self, frame: Frame) -> None:
        """Never blocks: the request waits in a queue for gRPC's own thread."""
        frame.sends += 1
        self.used_s = time.monotonic()
        self._requests.put(frame.request(self._stream, opening=self._call is None))
        if self._call is None:
            self._call = self._channel.append_rows(iter(self._requests.get, None), self._stream)
            self._receiver.start()

    def answer(self, deadline_s: float) -> types.AppendRowsResponse:
        """The next answer. Raises grpc.RpcError, or TimeoutError at `deadline_s` (monotonic) or when it was closed."""
        try:
            found = self._answers.get(timeout=max(deadline_s - time.monotonic(), 0.001))
        except queue.Empty:
            raise TimeoutError("BigQuery did not answer an append in time") from None
        self.used_s = time.monotonic()
        if found is None:
            raise TimeoutError("BigQuery closed the connection without an answer")
        if isinstance(found, grpc.RpcError):
            raise found
        return found

    def close(self) -> None:
        """Say goodbye; nothing that was not answered is known to have arrived or not."""
        self._requests.put(None)  # also ends gRPC's thread, which would wait for a request for ever
        if self._call is not None:
            self._receiver.join(_GOODBYE_S)
            self._call.cancel()

    def abort(self) -> None:
        """The same without manners, for a connection that does not answer."""
        self._requests.put(None)
        if self._call is not None:
            self._call.cancel()

    def _receive(self) -> None:
        assert self._call is not None
        try:
            for response in self._call:
                self._answers.put(response)
        except grpc.RpcError as error:
            self._answers.put(error)
        finally:
            with contextlib.suppress(Exception):
                self._answers.put(None)

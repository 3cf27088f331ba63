"""The small HTTP server of a stage process: `/status` (JSON) and `/metrics` (Prometheus)."""

import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from engagement_stream.observe.status import StageStatus, encode_report

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: a client that connects and says nothing must not make the stage look unreachable."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 5.0  # seconds that a silent client is listened to

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """A scrape every few seconds is not worth a line."""


def serve_status(status: StageStatus, host: str, port: int) -> int:
    """Answer in a daemon thread until the process ends; returns the port (a free one for 0)."""
    metrics = make_wsgi_app()

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/status":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [encode_report(status.report())]
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start_response)  # type: ignore[no-any-return]  # untyped upstream
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"here are /status and /metrics\n"]

    server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="status", daemon=True, kwargs={"poll_interval": 2.0}).start()
    return int(server.server_port)

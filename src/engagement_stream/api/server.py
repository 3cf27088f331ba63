"""The API as a process: one worker, no access log, a quiet end on SIGTERM."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from engagement_stream.api.app import create_app
from engagement_stream.errors import ConfigurationError
from engagement_stream.observe.log import log
from engagement_stream.settings import ApiSettings, Settings
from engagement_stream.sinks.redis import connect

_GRACE_S = 5
"""For answers on their way when the end comes; well below the supervisor's 20 s."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises ConfigurationError when the address cannot be listened on."""
    gc.freeze()  # what is imported stays; each full collection would hold up answers for 85 ms to find that out
    asyncio.run(_until_signalled(settings))


async def serve(settings: Settings, stop: asyncio.Event, listener: socket.socket | None = None) -> None:
    """Serve until `stop` is set, then finish what is being answered. `listener` is bound by us unless given."""
    listener = listener or listen(settings.api)
    async with connect(settings.redis) as reader:
        await serve_app(create_app(settings, reader), stop, listener)


async def serve_app(app: FastAPI, stop: asyncio.Event, listener: socket.socket) -> None:
    """Serve this application on a bound socket until `stop` is set; the socket is closed then."""
    server = _Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    serving = asyncio.create_task(server.serve([listener]), name="serve the API")
    stopping = asyncio.create_task(stop.wait(), name="wait for the end")
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    app.state.end_streams()  # the server waits for answers on their way, and a live view never ends by itself
    server.should_exit = True
    await serving


def listen(api: ApiSettings) -> socket.socket:
    """A socket bound to API_HOST and API_PORT."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(api.host, api.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        raise ConfigurationError(
            f"the API cannot listen on {api.host}:{api.port} ({error.strerror}): "
            "stop what uses that port, or set API_PORT (API_HOST) to another."
        ) from error
    return listener


async def _until_signalled(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = listen(settings.api)
    log().info("api listens", host=settings.api.host, port=settings.api.port)
    await serve(settings, stop, listener)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's business: uvicorn would raise them again after its end."""
        yield

"""Server-sent events: one snapshot a second, made once and given to every client that is connected.

Nothing is queued for a slow client: it gets the newest snapshot when it is ready for one. While nobody is connected
nothing is made. All streams end when the process is told to, or the server would wait for them.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from engagement_stream.observe.log import log

EVERY_S = 1.0
HEARTBEAT_S = 5.0
"""Without a new snapshot for so long, a comment is sent: proxies and browsers then know that the line is alive."""
MAX_CLIENTS = 64

_HEARTBEAT = b": still here\n\n"


class Hub:
    """`stream` for each client; `close` once, at the end."""

    def __init__(
        self, make: Callable[[], Awaitable[bytes]], *, max_clients: int = MAX_CLIENTS, every_s: float = EVERY_S
    ) -> None:
        self._make, self._max_clients, self._every_s = make, max_clients, every_s
        self._clients = 0
        self._number = 0
        self._frame = b""
        self._news = asyncio.Event()
        self._closing = False
        self._maker: asyncio.Task[None] | None = None

    @property
    def clients(self) -> int:
        """How many are connected."""
        return self._clients

    @property
    def full(self) -> bool:
        """No more are taken."""
        return self._clients >= self._max_clients or self._closing

    def close(self) -> None:
        """End every stream now."""
        self._closing = True
        self._news.set()

    async def stream(self) -> AsyncGenerator[bytes]:
        """The frames for one client, from the present snapshot on."""
        self._clients += 1
        if self._maker is None:
            self._maker = asyncio.create_task(self._keep_making(), name="make live snapshots")
        seen = 0
        try:
            yield b"retry: 2000\n\n"
            while not self._closing:
                if self._number == seen or not self._frame:
                    news = self._news
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            await news.wait()
                    except TimeoutError:
                        yield _HEARTBEAT
                    continue
                seen = self._number
                yield self._frame
        finally:
            self._clients -= 1
            if self._clients == 0 and self._maker is not None:
                self._maker.cancel()
                self._maker = None
                self._frame = b""  # the next client is not shown an old moment

    def _tell(self, snapshot: bytes) -> None:
        self._frame = b"event: snapshot\ndata: " + snapshot + b"\n\n"
        self._number += 1
        if not self._closing:  # then it stays set
            news, self._news = self._news, asyncio.Event()
            news.set()

    async def _keep_making(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                self._tell(await self._make())
            except Exception:  # noqa: BLE001 - the clients keep their heartbeat, the log says why there is nothing else
                log().exception("no snapshot could be made")
            await asyncio.sleep(max(self._every_s - (loop.time() - began_s), 0.05))

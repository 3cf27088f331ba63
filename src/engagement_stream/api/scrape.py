"""Asks every stage process for its status and its metrics, all at once and at most once a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from prometheus_client import Metric

from engagement_stream.api.cached import Cached
from engagement_stream.api.exposition import parse
from engagement_stream.api.health import Look, Memory, remember, upstream_canary
from engagement_stream.observe.status import decode_report

_TIMEOUT_S = 2.0
"""Of one question. A stage under full load answers in some 10 ms; a frozen one must not hold up /health."""
LOOK_EVERY_S = 10.0
"""Between two looks when nobody asks: often enough to see a stall by itself, too rarely to cost anything."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """The present look at a process, and what the looks so far add up to."""

    look: Look
    memory: Memory


class Stages:
    """The stage processes of STAGE_ENDPOINTS, as they are now. They may come, go and come back at any time."""

    def __init__(
        self, endpoints: Mapping[str, str], clock: Callable[[], float] = time.monotonic, fresh_s: float = 1.0
    ) -> None:
        self._endpoints = dict(endpoints)
        self._addresses = {name: _address(url) for name, url in endpoints.items()}
        self._clock = clock
        self._memories = {name: Memory() for name in self._endpoints}
        self._looked = False
        self._statuses = Cached(self._look, fresh_s)
        self._metrics = Cached(self._scrape, fresh_s)
        # The stages are our own, at addresses of our own: no proxy, no redirect, no credentials of the environment.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)

    @property
    def looked(self) -> bool:
        """Whether there has been a first look."""
        return self._looked

    async def statuses(self) -> Mapping[str, Seen]:
        """Every stage's status, or why there is none."""
        return await self._statuses.get()

    async def metrics(self) -> Mapping[str, list[Metric] | None]:
        """Every stage's metric families; None where they cannot be had."""
        return await self._metrics.get()

    async def watch(self) -> None:
        """Look now and then for ever, so that the first to ask already learns what stalls."""
        while True:
            await self.statuses()
            await asyncio.sleep(LOOK_EVERY_S)

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def _look(self) -> Mapping[str, Seen]:
        looks = await self._of_each(self._status_of)
        reports = {name: look.report for name, look in looks.items()}
        self._memories = {
            name: remember(self._memories[name], look, upstream_canary(name, reports)) for name, look in looks.items()
        }
        self._looked = True
        return {name: Seen(look, self._memories[name]) for name, look in looks.items()}

    async def _scrape(self) -> Mapping[str, list[Metric] | None]:
        return await self._of_each(self._metrics_of)

    async def _of_each(self, ask: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        names = list(self._endpoints)
        return dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))

    async def _status_of(self, name: str) -> Look:
        try:
            body = await self._get(name, "/status")
            return Look(self._clock(), decode_report(body))
        except _NoAnswerError as why:
            return Look(self._clock(), None, str(why))
        except msgspec.MsgspecError:
            return Look(self._clock(), None, f"what answers at {self._addresses[name]} is not a stage of this version")

    async def _metrics_of(self, name: str) -> list[Metric] | None:
        try:
            text = (await self._get(name, "/metrics")).decode()
            return await asyncio.to_thread(parse, text)  # some milliseconds, which other requests need not wait for
        except (_NoAnswerError, ValueError):
            return None

    async def _get(self, name: str, path: str) -> bytes:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._client.get(self._endpoints[name].rstrip("/") + path)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise _NoAnswerError(f"no answer from {self._addresses[name]} within {_TIMEOUT_S:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _NoAnswerError(f"nothing answers at {self._addresses[name]}") from error
        if answer.status_code != httpx.codes.OK:
            raise _NoAnswerError(f"{self._addresses[name]} answers {answer.status_code} to {path}")
        return answer.content


def _address(url: str) -> str:
    """Host and port alone, for people: a URL may hold a password."""
    try:
        address = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        address = ""
    return address or "its address in STAGE_ENDPOINTS, which is not an http:// URL"


class _NoAnswerError(Exception):
    """The stage did not answer as a stage does; the text says how."""

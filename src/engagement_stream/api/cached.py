"""A value that is made at most once a second, however many ask for it at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cached(Generic[T]):
    """`get` returns the value while it is fresh, and makes a new one otherwise; all who wait share one making."""

    def __init__(
        self, make: Callable[[], Awaitable[T]], fresh_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._fresh_s, self._clock = make, fresh_s, clock
        self._lock = asyncio.Lock()
        self._value: tuple[float, T] | None = None

    async def get(self) -> T:
        """The value, at most `fresh_s` old when the making of it ended."""
        async with self._lock:
            if self._value is None or self._clock() - self._value[0] >= self._fresh_s:
                value = await self._make()
                self._value = (self._clock(), value)
            return self._value[1]

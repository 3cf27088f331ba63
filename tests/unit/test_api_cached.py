"""Many clients cost as much as one."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from engagement_stream.api.cached import Cached


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_all_who_ask_at_once_share_one_making() -> None:
    """A hundred dashboards, one scrape."""

    async def scenario() -> None:
        made = itertools.count(1)
        go_on = asyncio.Event()

        async def make() -> int:
            await go_on.wait()
            return next(made)

        cached = Cached(make)
        asks = [asyncio.create_task(cached.get()) for _ in range(100)]
        await asyncio.sleep(0)
        go_on.set()
        assert set(await asyncio.gather(*asks)) == {1}

    asyncio.run(scenario())


def test_a_value_is_made_anew_once_it_is_old() -> None:
    """Fresh for a second from the end of its making."""

    async def scenario() -> None:
        clock, made = _Clock(), itertools.count(1)

        async def make() -> int:
            clock.now_s += 5  # a slow making does not make its own result old
            return next(made)

        cached = Cached(make, fresh_s=1.0, clock=clock)
        assert await cached.get() == 1
        clock.now_s += 0.9
        assert await cached.get() == 1
        clock.now_s += 0.2
        assert await cached.get() == 2

    asyncio.run(scenario())


def test_a_failure_is_not_kept() -> None:
    """The next who asks makes a new attempt."""

    async def scenario() -> None:
        answers: Iterator[OSError | str] = iter([OSError("away"), "here"])

        async def make() -> str:
            answer = next(answers)
            if isinstance(answer, OSError):
                raise answer
            return answer

        cached = Cached(make)
        with pytest.raises(OSError, match="away"):
            await cached.get()
        assert await cached.get() == "here"

    asyncio.run(scenario())

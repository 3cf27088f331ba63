"""What the API asks of the Redis reader, and whether the reader can answer now."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from engagement_stream.api.models import DependencyHealth
from engagement_stream.errors import EngagementError, Fatal
from engagement_stream.sinks.redis import ContentStats, RecentEvent, TopContent

_TIMEOUT_S = 2.0


class Reader(Protocol):
    """The mission's read methods. Each raises Retry while Redis cannot be asked, Fatal where only a person can help."""

    async def get_top_content(self, limit: int = 10) -> Sequence[TopContent]:
        """The hottest contents of the window, hottest first."""

    async def get_content_stats(self, content_id: str) -> ContentStats | None:
        """Lifetime figures of one content; None where no event of it was seen."""

    async def get_recent_events(self, content_id: str, count: int = 50) -> Sequence[RecentEvent]:
        """Its latest events, latest first; none where no event of it was seen."""


async def redis_health(reader: Reader, *, required: bool) -> DependencyHealth:
    """Whether the aggregates can be read, found out by reading them."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await reader.get_top_content(1)
    except TimeoutError:
        reason = f"Redis does not answer within {_TIMEOUT_S:g} s"
    except Fatal as error:
        reason = f"{error} {error.remedy}"
    except EngagementError as error:
        reason = str(error)
    else:
        return DependencyHealth(reachable=True, required=required, reason="")
    return DependencyHealth(reachable=False, required=required, reason=reason)

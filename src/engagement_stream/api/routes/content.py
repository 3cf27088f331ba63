"""GET /top-content, /content/{id}/stats, /content/{id}/recent: what Redis knows."""

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Path, Query

from engagement_stream.api.models import ContentStats, Problem, RecentEvent, RecentEvents, TopContent, TopContents
from engagement_stream.api.problems import ApiError, redis_away
from engagement_stream.api.reader import Reader
from engagement_stream.errors import EngagementError, Fatal

_TIMEOUT_S = 2.0
_REFUSED: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "The request cannot be understood."},
    503: {"model": Problem, "description": "Redis cannot be read now; Retry-After says when to ask again."},
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No event of this content has arrived."}
}

ContentId = Annotated[UUID, Path(description="`content.id` of the source.")]
T = TypeVar("T")


def content_routes(reader: Reader, window_minutes: int) -> APIRouter:
    """`window_minutes` is how far back the ranking looks."""
    router = APIRouter(tags=["content"])

    @router.get("/top-content", responses=_REFUSED)
    async def top_content(limit: Annotated[int, Query(ge=1, le=100)] = 10) -> TopContents:
        """The contents with the most engagement in the window, hottest first."""
        top = await _asked(reader.get_top_content(limit))
        return TopContents(window_minutes=window_minutes, content=[TopContent.model_validate(item) for item in top])

    @router.get("/content/{content_id}/stats", responses=_REFUSED | _UNKNOWN)
    async def stats(content_id: ContentId) -> ContentStats:
        """Lifetime figures of one content."""
        found = await _asked(reader.get_content_stats(str(content_id)))
        if found is None:
            raise _unknown(content_id)
        return ContentStats.model_validate(found)

    @router.get("/content/{content_id}/recent", responses=_REFUSED | _UNKNOWN)
    async def recent(content_id: ContentId, count: Annotated[int, Query(ge=1, le=1000)] = 50) -> RecentEvents:
        """The latest events of one content, latest first; REDIS_RECENT_EVENTS of them are kept."""
        found = await _asked(reader.get_recent_events(str(content_id), count))
        if not found:  # at least one event of a content is always kept
            raise _unknown(content_id)
        return RecentEvents(content_id=str(content_id), events=[RecentEvent.model_validate(event) for event in found])

    return router


async def _asked(answer: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await answer
    except TimeoutError as error:
        raise redis_away(f"Redis does not answer within {_TIMEOUT_S:g} s") from error
    except Fatal as error:
        raise redis_away(str(error), error.remedy) from error
    except EngagementError as error:
        raise redis_away(str(error)) from error


def _unknown(content_id: UUID) -> ApiError:
    return ApiError(
        404,
        f"No event of content {content_id} has arrived.",
        "See whether the id is that of a row in `content`, and at /health whether events are on their way.",
    )

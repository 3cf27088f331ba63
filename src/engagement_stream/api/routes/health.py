"""GET /health, /health/live, /health/ready."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response

from engagement_stream.api.health import guarantees, judge, overall, stage_of
from engagement_stream.api.models import Alive, DependencyHealth, Health
from engagement_stream.api.scrape import Stages

_BOTH: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "Something is not well."}}
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Alive, "description": "Not yet."}}


def health_routes(stages: Stages, redis: Callable[[], Awaitable[DependencyHealth]], *, exactly_once: bool) -> APIRouter:
    """`redis` tells whether the aggregates can be read."""
    router = APIRouter(tags=["health"])

    @router.get("/health", responses=_BOTH)
    async def health(response: Response) -> Health:
        """What every stage is doing. 200 when each runs and makes progress or has nothing to do, otherwise 503."""
        seen = await stages.statuses()
        now = datetime.now(UTC)
        each = {name: judge(name, s.look, s.memory, now.timestamp()) for name, s in seen.items()}
        dependencies = {"redis": await redis()}
        status, reason = overall(each, dependencies)
        response.status_code = 200 if status == "ok" else 503
        return Health(
            status=status,
            reason=reason,
            checked_at=now,
            exactly_once=exactly_once,
            guarantees=guarantees([stage_of(name) for name in each], exactly_once=exactly_once),
            stages=each,
            dependencies=dependencies,
        )

    @router.get("/health/live")
    async def live() -> Alive:
        """200 while the API's own process answers, whatever the pipeline does: for whoever would restart it."""
        return Alive(status="alive")

    @router.get("/health/ready", responses=_NOT_READY)
    async def ready(response: Response) -> Alive:
        """200 once the API has looked at the stages for the first time.

        It stays ready while the pipeline or Redis is away: then its answers, which say so, are needed most.
        """
        if stages.looked:
            return Alive(status="ready")
        response.status_code = 503
        return Alive(status="not ready")

    return router

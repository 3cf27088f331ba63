"""The FastAPI application: routes, lifetime, and nothing that a browser would have to fetch from elsewhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from engagement_stream import __version__
from engagement_stream.api import problems
from engagement_stream.api.cached import Cached
from engagement_stream.api.dead_letters import DeadLetterDesk
from engagement_stream.api.guard import Guard
from engagement_stream.api.health import stage_of
from engagement_stream.api.live.hub import Hub
from engagement_stream.api.live.snapshot import Snapshots
from engagement_stream.api.models import DependencyHealth
from engagement_stream.api.reader import Reader, redis_health
from engagement_stream.api.requests import CountRequests, RequestMetrics
from engagement_stream.api.routes.content import content_routes
from engagement_stream.api.routes.dashboard import dashboard_routes
from engagement_stream.api.routes.dlq import dlq_routes
from engagement_stream.api.routes.health import health_routes
from engagement_stream.api.routes.live import live_routes
from engagement_stream.api.routes.metrics import metrics_routes
from engagement_stream.api.scrape import Stages
from engagement_stream.settings import Settings


def create_app(settings: Settings, reader: Reader, stages: Stages | None = None) -> FastAPI:
    """The API over these stages (those of STAGE_ENDPOINTS unless given) and this reader, which stays the caller's."""
    endpoints = settings.api.stages()
    watched = stages or Stages(endpoints)
    desk = DeadLetterDesk(settings.kafka)
    has_redis_sink = "redis" in {stage_of(name) for name in endpoints}

    async def look_at_redis() -> DependencyHealth:
        return await redis_health(reader, required=has_redis_sink)

    @contextlib.asynccontextmanager
    async def lifetime(_app: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(watched.watch(), name="watch the stages")
        desk.watch()
        yield
        desk.close()
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        await watched.close()

    # No /docs: FastAPI's page loads its scripts from a public host. /openapi.json opens in any viewer.
    app = FastAPI(
        title="Engagement Stream",
        version=__version__,
        description="Health, metrics and real-time aggregates of the pipeline.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifetime,
    )
    own = RequestMetrics()
    own.also(desk)
    app.add_middleware(CountRequests, metrics=own)
    problems.install(app)
    redis = Cached(look_at_redis).get
    exactly_once, window_minutes = settings.kafka.exactly_once, settings.redis.window_minutes
    snapshots = Snapshots(watched, redis, reader, window_minutes=window_minutes, exactly_once=exactly_once)

    async def live_frame() -> bytes:
        return (await snapshots.get()).model_dump_json().encode()

    hub = Hub(live_frame)
    app.include_router(health_routes(watched, redis, exactly_once=exactly_once))
    app.include_router(metrics_routes(watched, own))
    app.include_router(dlq_routes(desk, Guard(settings.api.token)))
    app.include_router(content_routes(reader, window_minutes))
    app.include_router(live_routes(snapshots, hub))
    app.include_router(dashboard_routes())
    app.state.end_streams = hub.close
    return app

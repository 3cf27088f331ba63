"""GET /live (server-sent events) and /live/snapshot: what the dashboard and the terminal show."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from engagement_stream.api.live.hub import MAX_CLIENTS, Hub
from engagement_stream.api.live.models import Snapshot
from engagement_stream.api.live.snapshot import Snapshots
from engagement_stream.api.models import Problem
from engagement_stream.api.problems import ApiError

_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "An event named `snapshot` a second, its data a Snapshot as of /live/snapshot.",
    },
    503: {"model": Problem, "description": "Too many are connected."},
}


def live_routes(snapshots: Snapshots, hub: Hub) -> APIRouter:
    """`hub` streams what `snapshots` makes."""
    router = APIRouter(tags=["live"])

    @router.get("/live", response_class=StreamingResponse, responses=_EVENTS)
    async def live() -> StreamingResponse:
        """What the pipeline is doing, every second, until the client goes."""
        if hub.full:
            raise ApiError(
                503,
                f"{MAX_CLIENTS} live views are open already.",
                "Close one, or ask /live/snapshot now and then.",
                {"Retry-After": "5"},
            )
        return StreamingResponse(
            hub.stream(),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @router.get("/live/snapshot")
    async def snapshot() -> Snapshot:
        """The same once, at most a second old."""
        return await snapshots.get()

    return router

"""GET /metrics (JSON) and /metrics/prometheus, over all processes."""

import asyncio
import time
from datetime import UTC, datetime

from fastapi import APIRouter, Response
from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from engagement_stream.api.exposition import merge, parse, render, stage_states, stage_up
from engagement_stream.api.figures import Figures
from engagement_stream.api.health import judge
from engagement_stream.api.models import Metrics, StageMetrics
from engagement_stream.api.requests import RequestMetrics
from engagement_stream.api.scrape import Seen, Stages


def metrics_routes(stages: Stages, own: RequestMetrics) -> APIRouter:
    """`own`: what the API measures of itself."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics")
    async def metrics() -> Metrics:
        """Every process in figures. For Prometheus there is /metrics/prometheus."""
        seen, families = await asyncio.gather(stages.statuses(), stages.metrics())
        now = datetime.now(UTC)
        return Metrics(
            at=now,
            stages={name: _figures(name, s, families[name], now.timestamp()) for name, s in seen.items()},
            api=Figures(parse(own.exposition())).process(now.timestamp()),
        )

    @router.get(
        "/metrics/prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def prometheus() -> Response:
        """The metrics of all processes in Prometheus's text format; the label `process` names the process."""
        seen, families = await asyncio.gather(stages.statuses(), stages.metrics())  # a frozen stage is waited for once
        up = stage_up({name: scraped is not None for name, scraped in families.items()})
        wall_s = time.time()
        states = stage_states({name: judge(name, s.look, s.memory, wall_s).state for name, s in seen.items()})
        answered = {name: scraped for name, scraped in families.items() if scraped is not None}
        merged = merge({**answered, "api": parse(own.exposition())})
        return Response(render([*merged, up, states]), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


def _figures(name: str, seen: Seen, families: list[Metric] | None, wall_s: float) -> StageMetrics:
    health = judge(name, seen.look, seen.memory, wall_s)
    figures = Figures(families or [])
    up = families is not None
    lag = figures.total("engagement_lag_records") if health.lag_records is None else health.lag_records
    return StageMetrics(
        stage=health.stage,
        up=up,
        state=health.state,
        records=figures.total("engagement_records"),
        records_per_s=seen.memory.records_per_s,
        lag_records=lag,
        latency=figures.latency(),
        dead_letters=figures.total("engagement_dead_letters") or (0 if up else None),
        dead_letters_by_reason=figures.total_by("engagement_dead_letters", "reason"),
        retries=figures.total("engagement_retries") or (0 if up else None),
        reopened=figures.total("engagement_reopened") or (0 if up else None),
        last_progress=health.last_progress,
        process=figures.process(wall_s),
        others=figures.others(),
    )

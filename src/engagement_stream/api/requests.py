"""What the API measures of itself: how many requests, how long, per route."""

import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)


class RequestMetrics:
    """A registry of its own, so that an application can be made more than once in a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter(
            "engagement_api_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "engagement_api_request_duration_seconds",
            "From the request to the end of its answer.",
            ["route"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )

    def also(self, collector: Collector) -> None:
        """Tell these too."""
        self._registry.register(collector)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One more."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def exposition(self) -> str:
        """As Prometheus text."""
        return generate_latest(self._registry).decode()


class CountRequests:
    """ASGI middleware that feeds RequestMetrics."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began_s, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            # The route's template, never the path: ids as labels would grow without end.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(route, status, time.perf_counter() - began_s)
        return None

"""Makes the snapshot: one look at the stages, one at Redis."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from engagement_stream.api.cached import Cached
from engagement_stream.api.health import judge, overall
from engagement_stream.api.live.models import ContentEvent, Snapshot, StageLive
from engagement_stream.api.live.recent import Recent
from engagement_stream.api.live.stages import live_stages, source_of
from engagement_stream.api.live.troubles import LATE_AFTER_S, is_late, troubles
from engagement_stream.api.models import DependencyHealth, RecentEvent, TopContent
from engagement_stream.api.reader import Reader
from engagement_stream.api.scrape import Stages
from engagement_stream.errors import EngagementError

_TOP = 8
_LATEST_OF_EACH = 4
_LATEST = 12
_TIMEOUT_S = 2.0


class Snapshots:
    """`get` gives the present snapshot, at most a second old; many who ask share one."""

    def __init__(
        self,
        stages: Stages,
        redis: Callable[[], Awaitable[DependencyHealth]],
        reader: Reader,
        *,
        window_minutes: int,
        exactly_once: bool,
        fresh_s: float = 0.9,
    ) -> None:
        self._stages, self._redis, self._reader = stages, redis, reader
        self._window_minutes, self._exactly_once = window_minutes, exactly_once
        self._recent: dict[str, Recent] = {}
        self._late_since_s: dict[str, float] = {}
        self._cached = Cached(self._make, fresh_s)

    async def get(self) -> Snapshot:
        """The present one."""
        return await self._cached.get()

    async def _make(self) -> Snapshot:
        seen, redis, (top, latest) = await asyncio.gather(self._stages.statuses(), self._redis(), self._contents())
        now = datetime.now(UTC)
        for name, one in seen.items():
            if (report := one.look.report) is not None:
                self._recent.setdefault(name, Recent()).look(one.look.at_s, report.records, report.latency)
        health = {name: judge(name, s.look, s.memory, now.timestamp()) for name, s in seen.items()}
        reports = {name: s.look.report for name, s in seen.items()}
        stages = live_stages(health, reports, self._recent, now, exactly_once=self._exactly_once)
        late = self._late_for_long(stages, now.timestamp())
        status, reason = overall(health, {"redis": redis})
        return Snapshot(
            at=now,
            status=status,
            reason=reason,
            troubles=troubles(health, {"redis": redis}, late),
            source=source_of(reports),
            stages=stages,
            window_minutes=self._window_minutes,
            top=top,
            latest=latest,
            dead_letters=sum(stage.dead_letters for stage in stages),
        )

    def _late_for_long(self, stages: Sequence[StageLive], now_s: float) -> list[StageLive]:
        late = [stage for stage in stages if is_late(stage)]
        self._late_since_s = {stage.stage: self._late_since_s.get(stage.stage, now_s) for stage in late}
        return [stage for stage in late if now_s - self._late_since_s[stage.stage] >= LATE_AFTER_S]

    async def _contents(self) -> tuple[list[TopContent] | None, list[ContentEvent] | None]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                top = [TopContent.model_validate(item) for item in await self._reader.get_top_content(_TOP)]
                ids = [content.content_id for content in top]
                each = await asyncio.gather(*(self._reader.get_recent_events(i, _LATEST_OF_EACH) for i in ids))
        except (TimeoutError, EngagementError):
            return None, None
        events = [
            ContentEvent(
                **RecentEvent.model_validate(event).model_dump(), content_id=content.content_id, title=content.title
            )
            for content, recent in zip(top, each, strict=True)
            for event in recent
        ]
        return top, sorted(events, key=lambda event: (event.event_ts, event.event_id), reverse=True)[:_LATEST]

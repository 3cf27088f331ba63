"""The snapshot: one moment of the pipeline, as the dashboard and the terminal show it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engagement_stream.api.models import Overall, RecentEvent, StageState, TopContent

TroubleKind = Literal[
    "halted", "degraded", "unreachable", "stalled", "waiting", "starting", "stopping", "no_stages", "no_redis", "late"
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Trouble(_Part):
    """One thing that is wrong, the worst first."""

    kind: TroubleKind
    stage: str = Field(description="Empty where it concerns none in particular.")
    sentence: str = Field(description="What is wrong.")
    remedy: str = Field(description="What to do about it; empty where waiting is enough.")


class RecentLatency(_Part):
    """Seconds from PostgreSQL's commit to the durable receipt, of the live events of the last seconds."""

    p50_s: float
    p99_s: float
    count: int
    window_s: float


class StageLive(_Part):
    """One stage, its workers together."""

    stage: str
    workers: int
    state: StageState = Field(description="Of the worker that is worst off.")
    records: int | None = Field(description="Durable behind it since its processes started.")
    records_per_s: float | None = Field(description="Over the last seconds; null before there is a second look.")
    lag_records: int | None
    canary_age_s: float | None
    last_progress_s: float | None = Field(description="Seconds since it last made something durable.")
    latency: RecentLatency | None = Field(description="null while no live event has passed lately.")
    promise_s: float | None = Field(description="What its p99 promises to stay below; null for a stage without one.")
    guarantee: str = Field(description="exactly once, at least once; empty for what is no sink.")
    dead_letters: int = Field(description="Set aside since its processes started.")
    retries: int


class SourceLive(_Part):
    """PostgreSQL, as capture sees it."""

    phase: str = Field(description="streaming, copying events, copying content; empty while unknown.")
    lsn: str
    slot_lag_bytes: int | None = Field(description="WAL that the replication slot holds back.")


class ContentEvent(RecentEvent):
    """An event with the content it is of."""

    content_id: str
    title: str | None


class Snapshot(_Part):
    """Everything at one moment."""

    at: datetime
    status: Overall
    reason: str = Field(description="The status in one sentence.")
    troubles: list[Trouble]
    source: SourceLive
    stages: list[StageLive] = Field(description="In the order of the flow.")
    window_minutes: int
    top: list[TopContent] | None = Field(description="null while Redis cannot be read.")
    latest: list[ContentEvent] | None = Field(description="The latest events of the contents in `top`.")
    dead_letters: int = Field(description="Of all stages, since their processes started.")

"""What the API answers: every body has a type, and OpenAPI shows it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Overall = Literal["ok", "degraded", "down"]
StageState = Literal["starting", "running", "waiting", "degraded", "halted", "stopping", "stalled", "unreachable"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class Problem(_Answer):
    """Every answer that is not a success."""

    error: str = Field(description="What is wrong, as a sentence.")
    remedy: str = Field(description="What to do about it.")


class StageHealth(_Answer):
    """One process of the pipeline."""

    stage: str = Field(description="capture, enrich, redis, bigquery, http, or verify.")
    worker: int | None = Field(description="Its number among the workers of this stage; null before it ever answered.")
    state: StageState = Field(
        description="running is the only healthy one. stalled: records or a canary wait, none passes."
    )
    healthy: bool
    reason: str = Field(description="Why it is not running; empty when it is.")
    remedy: str = Field(description="What a person can do; empty where there is nothing to do but wait.")
    since: datetime = Field(description="When it entered this state.")
    last_progress: datetime | None = Field(description="When it last made something durable.")
    records: int | None = Field(description="Records handled since the process started.")
    lag_records: int | None = Field(description="Records that wait for it; null where it does not count them.")
    canary_age_s: float | None = Field(
        description="Since the newest canary that is durable behind it was sent into PostgreSQL; null before the first."
    )
    details: dict[str, str | int | float | bool | None] = Field(description="Positions and other facts of this stage.")


class DependencyHealth(_Answer):
    """A server that the API itself reads from."""

    reachable: bool
    required: bool = Field(description="false: nothing that is configured needs it, so it does not count.")
    reason: str


class Health(_Answer):
    """200 when status is ok, 503 otherwise."""

    status: Overall = Field(description="down: nothing can arrive anywhere; degraded: something does not.")
    reason: str = Field(description="The status in one sentence.")
    checked_at: datetime
    exactly_once: bool = Field(description="ENABLE_EXACTLY_ONCE.")
    guarantees: dict[str, str] = Field(description="What each sink promises.")
    stages: dict[str, StageHealth]
    dependencies: dict[str, DependencyHealth]


class Alive(_Answer):
    """The API's own process."""

    status: Literal["alive", "ready", "not ready"]


class Latency(_Answer):
    """Seconds from PostgreSQL's commit to the durable receipt, of live events, since the process started.

    Estimated from the histogram's buckets by linear interpolation; exact values lie within the same bucket.
    """

    p50_s: float
    p90_s: float
    p99_s: float
    mean_s: float
    count: int


class ProcessUse(_Answer):
    """What a process takes from its machine; null where the platform does not tell."""

    cpu_seconds: float | None = Field(description="User and system time since it started.")
    resident_bytes: int | None
    uptime_s: float | None


class StageMetrics(_Answer):
    """One process of the pipeline in figures; counters begin at the start of the process."""

    stage: str
    up: bool = Field(description="false: it did not answer, and the figures are missing.")
    state: StageState
    records: int | None = Field(description="Records that are durable behind it.")
    records_per_s: float | None = Field(description="Between the last two looks, which are 1 to 10 s apart.")
    lag_records: int | None
    latency: Latency | None = Field(description="null before the first live event.")
    dead_letters: int | None
    dead_letters_by_reason: dict[str, int]
    retries: int | None = Field(description="Attempts that had to be made again.")
    reopened: int | None = Field(description="Times it went back to its durable position.")
    last_progress: datetime | None
    process: ProcessUse
    others: dict[str, float] = Field(description="The engagement_* metrics not named above, summed over their labels.")


class Metrics(_Answer):
    """All processes at once."""

    at: datetime
    stages: dict[str, StageMetrics]
    api: ProcessUse


class TopContent(_Answer):
    """One place of the ranking."""

    rank: int
    content_id: str
    title: str | None = Field(description="null while no version of the content is known.")
    slug: str | None
    content_type: str | None = Field(description="podcast, newsletter or video.")
    events: int = Field(description="Events in the window; the ranking is by them.")
    engagement_seconds: float = Field(description="Sum of duration_ms / 1000 in the window.")


class TopContents(_Answer):
    """The ranking, hottest first."""

    window_minutes: int = Field(description="How far back it looks (REDIS_AGGREGATION_WINDOW_MINUTES).")
    content: list[TopContent]


class RecentEvent(_Answer):
    """One event, as it was enriched."""

    event_id: int
    event_type: str | None = Field(description="play, pause, finish or click.")
    event_ts: str = Field(description="ISO 8601, UTC.")
    user_id: str | None
    device: str | None
    duration_ms: int | None
    engagement_seconds: float | None
    engagement_pct: float | None = Field(description="Of the content's length; null where that is unknown or 0.")


class ContentStats(_Answer):
    """Lifetime figures of one content, and its share of the running window."""

    content_id: str
    title: str | None
    slug: str | None
    content_type: str | None
    events: int
    plays: int
    pauses: int
    finishes: int
    clicks: int
    untyped: int = Field(description="Events whose type is NULL.")
    unique_users: int = Field(description="An estimate: HyperLogLog, 0.81 % standard error.")
    engagement_seconds: float
    avg_engagement_seconds: float | None = Field(description="Over the events that have a duration.")
    window_minutes: int
    window_events: int
    window_engagement_seconds: float
    last_event: RecentEvent | None


DeadLetterState = Literal["open", "replayed", "discarded"]


class DeadLetter(_Answer):
    """One event that a stage could not use, without its payload."""

    id: str = Field(description="`stage~topic~partition~offset` of the record that failed.")
    stage: str = Field(description="Where it failed: capture, enrich, redis, bigquery or http.")
    reason: str
    at: datetime = Field(description="When it came into the queue.")
    size: int = Field(description="Bytes of the record.")
    again: int = Field(description="How many replays of the event have failed before.")
    origin: str = Field(description="Where the event failed first, `topic/partition/offset`.")
    state: DeadLetterState
    handled_at: datetime | None
    handled_by: str = Field(description="command line, token or loopback; empty while it is open.")


class DeadLetterContent(DeadLetter):
    """One letter whole. The payload and the detail may hold personal data."""

    detail: str = Field(description="Why it was refused, as the stage or the receiver said it.")
    replayable: bool
    why_not: str = Field(description="Why it cannot be replayed and what to do instead; empty when it can.")
    payload: str | None = Field(description="The record's bytes as text; null where they are no UTF-8.")
    payload_base64: str = Field(description="The record's bytes.")


class DeadLetters(_Answer):
    """A page of the queue, newest first."""

    total: int = Field(description="Letters that fit, over all pages.")
    letters: list[DeadLetter]
    next: str | None = Field(description="`before` of the next page; null at the end.")


class DeadLetterCount(_Answer):
    """Letters of one stage with one reason."""

    stage: str
    reason: str
    open: int
    replayed: int
    discarded: int


class DeadLetterSummary(_Answer):
    """The whole queue in figures."""

    open: int
    replayed: int
    discarded: int
    oldest_open: datetime | None
    counts: list[DeadLetterCount]


class DeadLetterFilter(_Answer):
    """Which open letters; what is left out does not restrict."""

    stage: str | None = None
    reason: str | None = None
    since: datetime | None = Field(None, description="Letters from then on.")
    until: datetime | None = Field(None, description="Letters before then.")


class ReplayRequest(_Answer):
    """Either ids or a filter."""

    ids: list[str] | None = Field(None, min_length=1, max_length=10_000)
    filter: DeadLetterFilter | None = Field(None, description="{} is every open letter.")
    limit: int = Field(1_000, ge=1, le=10_000, description="Of a filter: at most so many with this request.")


class DiscardRequest(ReplayRequest):
    """Either ids or a filter; a filter has to be confirmed."""

    confirm: bool = Field(False, description="true: yes, all that fit are given up.")


class HandledLetters(_Answer):
    """What was done. With `left` above 0, send the same request again to go on."""

    done: int = Field(description="Letters that this request replayed or discarded.")
    handled_before: int = Field(description="Letters that were replayed or discarded before: nothing was done again.")
    unknown: list[str]
    refused: dict[str, int] = Field(description="Why letters were left open -> how many.")
    left: int = Field(description="Letters that fit the filter and were beyond the limit.")


class RecentEvents(_Answer):
    """The latest events of one content, latest first by (event_ts, event_id)."""

    content_id: str
    events: list[RecentEvent]

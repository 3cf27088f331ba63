"""GET /dlq, /dlq/summary, /dlq/{id}; POST /dlq/replay, /dlq/discard: what could not be delivered."""

import base64
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query

from engagement_stream.api.dead_letters import DeadLetterDesk
from engagement_stream.api.guard import REFUSALS, Guard, Who
from engagement_stream.api.models import (
    DeadLetter,
    DeadLetterContent,
    DeadLetterCount,
    DeadLetters,
    DeadLetterState,
    DeadLetterSummary,
    DiscardRequest,
    HandledLetters,
    Problem,
    ReplayRequest,
)
from engagement_stream.api.problems import ApiError
from engagement_stream.dlq.handling import Outcome
from engagement_stream.dlq.letter import STATES, Filter, Letter, decode_cursor, encode_cursor, name_of
from engagement_stream.dlq.queue import Summary
from engagement_stream.dlq.showing import Content, read_content
from engagement_stream.observe.log import log

_READ: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "The request cannot be understood."},
    503: {"model": Problem, "description": "The queue cannot be read now."},
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is no such letter."}}
_OVERTAKEN: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "Somebody else began to handle letters; nothing was done twice."}
}
LetterId = Annotated[str, Path(description="As the list shows it; the slashes of a letter's name are tildes.")]


def dlq_routes(desk: DeadLetterDesk, guard: Guard) -> APIRouter:
    """`guard` lets in whoever may change something or read payloads."""
    router = APIRouter(prefix="/dlq", tags=["dead letters"])
    allowed = Depends(guard)

    @router.get("", responses=_READ)
    async def list_letters(
        stage: str | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        state: DeadLetterState | Literal["all"] = "open",
        limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
        before: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    ) -> DeadLetters:
        """The letters, newest first, without payloads."""
        wanted = Filter(stage, reason, since, until, None if state == "all" else state)

        def page() -> DeadLetters:
            found = desk.queue.page(wanted, before=decode_cursor(before) if before else None, limit=limit)
            total = desk.queue.index.count(wanted)
            after = encode_cursor(found[-1]) if len(found) == limit else None
            return DeadLetters(total=total, letters=[DeadLetter(**_about(letter)) for letter in found], next=after)

        return await desk.ask(page)

    @router.get("/summary", responses=_READ)
    async def summary() -> DeadLetterSummary:
        """How many letters there are, by stage and reason."""
        return await desk.ask(lambda: _summary(desk.queue.summary()))

    @router.get("/{letter_id}", responses=_READ | _UNKNOWN | REFUSALS, dependencies=[allowed])
    async def show(letter_id: LetterId) -> DeadLetterContent:
        """One letter whole, its payload too; guarded, since that may be personal data."""

        def find() -> tuple[Letter, Content] | None:
            letter = desk.queue.find(name_of(letter_id))
            return None if letter is None else (letter, read_content(desk.queue, letter))

        found = await desk.ask(find)
        if found is None:
            raise ApiError(404, "There is no such dead letter.", "The list at /dlq shows their ids.")
        return _content(*found)

    @router.post("/replay", responses=_READ | REFUSALS | _OVERTAKEN)
    async def replay(request: ReplayRequest, who: Annotated[Who, allowed]) -> HandledLetters:
        """Send open letters back to the stage they failed at. Sent twice, a letter is replayed once."""
        wanted = _wanted(request)
        outcome = await desk.ask(lambda: desk.handling.replay(wanted, who, limit=request.limit))
        return _handled("replayed", outcome, who, wanted)

    @router.post("/discard", responses=_READ | REFUSALS | _OVERTAKEN)
    async def discard(request: DiscardRequest, who: Annotated[Who, allowed]) -> HandledLetters:
        """Give letters up: their events are never delivered there. They stay readable."""
        wanted = _wanted(request)
        if isinstance(wanted, Filter) and not request.confirm:
            raise ApiError(422, "Discarding by a filter has to be confirmed.", "Send `confirm: true` with it.")
        outcome = await desk.ask(lambda: desk.handling.discard(wanted, who, limit=request.limit))
        return _handled("discarded", outcome, who, wanted)

    return router


def _wanted(request: ReplayRequest) -> list[str] | Filter:
    if (request.ids is None) == (request.filter is None):
        raise ApiError(422, "Either `ids` or `filter` has to say which letters.", "`filter: {}` is every open letter.")
    if request.ids is not None:
        return [name_of(text) for text in request.ids]
    assert request.filter is not None
    return Filter(request.filter.stage, request.filter.reason, request.filter.since, request.filter.until)


def _handled(action: str, outcome: Outcome, who: Who, wanted: list[str] | Filter) -> HandledLetters:
    which = str(wanted) if isinstance(wanted, Filter) else f"{len(wanted)} ids"
    log().info(
        "dead letters handled",
        action=action,
        by=who,
        letters=outcome.done,
        which=which,
        left_open=sum(outcome.refused.values()),
    )
    return HandledLetters(
        done=outcome.done,
        handled_before=outcome.handled_before,
        unknown=outcome.unknown,
        refused=outcome.refused,
        left=outcome.left,
    )


def _about(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.url_id,
        "stage": letter.stage,
        "reason": letter.reason,
        "at": letter.at,
        "size": letter.size,
        "again": letter.again,
        "origin": letter.origin,
        "state": letter.state,
        "handled_at": letter.handled_at,
        "handled_by": letter.by,
    }


def _content(letter: Letter, content: Content) -> DeadLetterContent:
    try:
        text: str | None = content.value.decode()
    except UnicodeDecodeError:
        text = None
    return DeadLetterContent(
        **_about(letter),
        detail=content.detail,
        replayable=not content.not_replayable and letter.state == "open",
        why_not=content.not_replayable or ("" if letter.state == "open" else f"It was {letter.state} before."),
        payload=text,
        payload_base64=base64.b64encode(content.value).decode(),
    )


def _summary(found: Summary) -> DeadLetterSummary:
    pairs = sorted({(stage, reason) for stage, reason, _ in found.counts})
    return DeadLetterSummary(
        open=found.total("open"),
        replayed=found.total("replayed"),
        discarded=found.total("discarded"),
        oldest_open=found.oldest_open,
        counts=[
            DeadLetterCount(
                stage=stage,
                reason=reason,
                **{state: found.counts.get((stage, reason, state), 0) for state in STATES},
            )
            for stage, reason in pairs
        ],
    )

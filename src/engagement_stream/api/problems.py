"""The one shape of every answer that is not a success: what is wrong, and what to do."""

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engagement_stream.api.models import Problem
from engagement_stream.observe.log import log

RETRY_AFTER_S = 2


class ApiError(Exception):
    """Answer with this status and sentence."""

    def __init__(self, status: int, error: str, remedy: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.remedy = status, error, remedy
        self.headers = dict(headers or {})


def redis_away(why: str, remedy: str = "") -> ApiError:
    """503: the aggregates cannot be read now."""
    return ApiError(
        503,
        f"The real-time aggregates cannot be read now: {why}.",
        remedy or f"Ask again in {RETRY_AFTER_S} s. If it stays so, see whether Redis runs at REDIS_URL.",
        {"Retry-After": str(RETRY_AFTER_S)},
    )


def install(app: FastAPI) -> None:
    """Answer every kind of failure in this shape."""

    @app.exception_handler(ApiError)
    async def _ours(_request: Request, error: ApiError) -> JSONResponse:
        return _answer(error.status, error.error, error.remedy, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _bad_input(_request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = "; ".join(_explain(problem) for problem in error.errors())
        return _answer(422, f"This request cannot be understood: {wrong}.", "Correct the request and send it again.")

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            sentence = f"There is nothing at {request.url.path}."
        elif error.status_code == 405:
            sentence = f"{request.method} is not possible at {request.url.path}."
        else:
            sentence = str(error.detail)
        return _answer(error.status_code, sentence, "The endpoints are listed at /openapi.json.", error.headers)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        log().error("request failed", path=request.url.path, error=type(error).__name__)
        return _answer(500, "The API failed to answer.", "See the API's log; please report it as a bug.")


def _explain(problem: Mapping[str, object]) -> str:
    where = problem.get("loc")
    name = str(where[-1]) if isinstance(where, tuple | list) and where else "input"
    kind = {"uuid_parsing": "must be a UUID, like 00000000-0000-4000-8000-000000000000"}
    text = kind.get(str(problem.get("type")), str(problem.get("msg", "is not valid")))
    return f"{name}: {text[:1].lower()}{text[1:]}"


def _answer(status: int, error: str, remedy: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(Problem(error=error, remedy=remedy).model_dump(), status, dict(headers) if headers else None)

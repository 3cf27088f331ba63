"""GET / and what the page needs: files of this package, and nothing from elsewhere."""

from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

from engagement_stream.api.problems import ApiError

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked for anew, answered with 304 while it is the same
}


def dashboard_routes() -> APIRouter:
    """Reads the files once: they do not change while the process lives."""
    router = APIRouter(include_in_schema=False)
    held = {name: (body, f'"{sha256(body).hexdigest()[:20]}"') for name, body in _files().items()}

    def answer(name: str, request: Request) -> Response:
        body, etag = held[name]
        headers = {**_HEADERS, "ETag": etag}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=_TYPES[name[name.rindex(".") :]], headers=headers)

    @router.get("/")
    async def page(request: Request) -> Response:
        """For people."""
        return answer("index.html", request)

    @router.get("/dashboard/{name:path}")
    async def part(name: str, request: Request) -> Response:
        """Style, modules, words."""
        if name not in held:
            raise ApiError(404, f"The dashboard has no file {name}.", "Open /.")
        return answer(name, request)

    return router


def _files() -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    def gather(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                gather(entry, f"{prefix}{entry.name}/")
            elif entry.name[entry.name.rfind(".") :] in _TYPES:
                found[prefix + entry.name] = entry.read_bytes()

    gather(files("engagement_stream.api").joinpath("dashboard"), "")
    return found

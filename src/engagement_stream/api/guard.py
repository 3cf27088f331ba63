"""Who may change something, or read what may be personal data: whoever has API_TOKEN, or without one this machine.

Without a token a request has to come from loopback, be addressed to loopback by name (or a web page could have a name
of its own lead here), not be passed on by a proxy, and not be sent by a page of another site.
"""

import hmac
import ipaddress
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import Header, Request
from pydantic import SecretStr

from engagement_stream.api.models import Problem
from engagement_stream.api.problems import ApiError

Who = Literal["token", "loopback"]
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "API_TOKEN is set, and the request does not carry it."},
    403: {"model": Problem, "description": "No API_TOKEN is set, and the request is not one of this machine's own."},
}
_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_REMEDY = "Set API_TOKEN for the API and send it as `Authorization: Bearer ...`, or ask from the machine it runs on."


class Guard:
    """Used as a dependency; returns by which right the request is let in. Raises ApiError (401, 403)."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token.get_secret_value().encode()

    def __call__(
        self,
        request: Request,
        authorization: Annotated[str | None, Header(description="`Bearer` and API_TOKEN.")] = None,
    ) -> Who:
        if self._token:
            scheme, _, given = (authorization or "").partition(" ")
            if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
                return "token"
            raise ApiError(
                401,
                "This needs the token of the API." if not authorization else "This is not the token of the API.",
                "Send `Authorization: Bearer ...` with the value of API_TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )
        if why := _foreign(request):
            raise ApiError(403, f"Without an API_TOKEN this is for the machine itself: {why}.", _REMEDY)
        return "loopback"


def _foreign(request: Request) -> str:
    if request.client is None or not _is_loopback(request.client.host):
        return "the request comes from elsewhere"
    if passed := next((name for name in _PASSED_ON if name in request.headers), None):
        return f"a proxy passed the request on ({passed})"
    if not _is_loopback(_hostname(f"//{request.headers.get('host', '')}")):
        return "it is addressed to another name than localhost"
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return "a web page of another site sent it"
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return "a web page of another site sent it"
    return ""


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)

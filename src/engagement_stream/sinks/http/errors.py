"""The one border where the HTTP client's exceptions become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpcore

from engagement_stream.errors import Retry

FOREIGN: tuple[type[Exception], ...] = (
    httpcore.ConnectionNotAvailable,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    OSError,
)
"""All that the client raises. None of it says whether the receiver acted, so all of it means: the same bytes again."""


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raises Retry for whatever the network does; `where` is scheme and host, never the whole URL."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise Retry(f"{where} did not answer in time") from error
    except FOREIGN as error:
        raise Retry(f"{where} cannot be reached: {_plain(error)}") from error


def _plain(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__

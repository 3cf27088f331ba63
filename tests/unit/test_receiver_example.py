"""The receiver of docs/how-to/your-receiver.md, run as it stands there, takes what the http sink sends exactly once."""

import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engagement_stream.sinks.http.request import Headers, batch_body
from engagement_stream.stack.ports import free_port
from tests.fixtures.http import as_sent, engagement
from tests.fixtures.waiting import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "your-receiver.md").read_text()
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUA=="


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[str]:
    """Its URL; what it remembers is in `seen.sqlite`."""
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    program = tmp_path / "receiver.py"
    program.write_text(found[1])
    port = free_port()
    argv = [sys.executable, str(program), str(tmp_path / "seen.sqlite"), str(port)]
    process = subprocess.Popen(argv, env={**os.environ, "EXTERNAL_API_SECRET": SECRET}, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), 30.0, "the receiver to listen")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def _send(url: str, body: bytes, secret: str = SECRET) -> int:
    headers = Headers(url=url, secret=secret, token="").of("key", body, time.time())
    return httpx.post(url, content=body, headers={str(k): str(v) for k, v in headers.items()}, timeout=10.0).status_code


def test_the_example_takes_each_event_once_and_nothing_that_is_not_signed(receiver: str, tmp_path: Path) -> None:
    """A repeat, and the same events in another batch, have no second effect; another secret's batch has none at all."""
    first, second, click = engagement(1), engagement(2), engagement(3, event_type="click")
    whole = batch_body("engagement-enriched", [as_sent(first), as_sent(second), as_sent(click)])
    half = batch_body("engagement-enriched", [as_sent(second)])
    assert [_send(receiver, body) for body in (whole, whole, half)] == [204, 204, 204]
    assert _send(receiver, batch_body("t", [as_sent(engagement(4))]), "whsec_" + "WldYWVpXWFlaV1hZWldYWQ==") == 401
    with sqlite3.connect(tmp_path / "seen.sqlite") as database:
        assert database.execute("select id from seen order by id").fetchall() == [("1",), ("2",), ("3",)]
        assert database.execute("select content, times from plays").fetchall() == [(first.content_id, 2)]
    database.close()

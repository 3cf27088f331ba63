"""The receiver as a part of the embedded stack, and a small client for its questions."""

import base64
import http.client
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from engagement_stream.stack.part import Report, Server
from engagement_stream.stack.ports import HOST
from engagement_stream.stack.process import Command, base_environment
from engagement_stream.stack.receiver.faults import Fault, decode_faults, encode_faults
from engagement_stream.stack.receiver.server import SECRET_FILE
from engagement_stream.stack.receiver.store import Stats, StoredEvent

_decode_events = msgspec.json.Decoder(list[StoredEvent]).decode
_decode_stats = msgspec.json.Decoder(Stats).decode
_decode_requests = msgspec.json.Decoder(list[tuple[str, int, int]]).decode
_PAGE = 20_000


class ReceiverServer(Server):
    """Takes batches at `url`; `secret` is made once and kept with its data."""

    name = "receiver"

    @property
    def url(self) -> str:
        """Where batches are POSTed."""
        return f"http://{HOST}:{self.port}/events"

    @property
    def secret(self) -> str:
        """The Standard Webhooks secret both sides know."""
        return (self.data_dir / SECRET_FILE).read_text().strip()

    def environment(self) -> Mapping[str, str]:
        return {"EXTERNAL_API_URL": self.url, "EXTERNAL_API_SECRET": self.secret}

    def stats(self, *, thorough: bool = False) -> Stats:
        """What came so far; `thorough` also looks for differing repeats and broken order."""
        return _decode_stats(self._ask("GET", "/stats?thorough=1" if thorough else "/stats"))

    def events(self, after: int = 0) -> Iterator[StoredEvent]:
        """Every event once, in the order of first arrival, with how often it came; those behind `after` (a seq)."""
        while page := _decode_events(self._ask("GET", f"/events?after={after}&limit={_PAGE}")):
            yield from page
            after = page[-1].seq

    def requests(self) -> list[tuple[str, int, int]]:
        """(idempotency key, times received, times with another body)."""
        return _decode_requests(self._ask("GET", "/requests"))

    def fail(self, *faults: Fault) -> None:
        """Queue faults; each is used up by the requests it fits."""
        self._ask("POST", "/faults", encode_faults(faults))

    def waiting_faults(self) -> list[Fault]:
        """Faults that no request has used up yet."""
        return decode_faults(self._ask("GET", "/faults"))

    def behave(self) -> None:
        """Forget all faults that are left."""
        self._ask("DELETE", "/faults")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status >= 400:
                raise ValueError(f"the receiver answered {answer.status}: {content.decode(errors='replace')[:500]}")
            return content
        finally:
            connection.close()

    def _create(self, directory: Path, report: Report) -> None:
        del report
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        file = directory / SECRET_FILE
        file.touch(mode=0o600)
        file.write_text(secret)

    def _command(self) -> Command:
        # -I: nothing of the working directory or of PYTHONPATH is imported
        argv = [sys.executable, "-I", "-m", "engagement_stream.stack.receiver.server", str(self.data_dir)]
        return Command([*argv, str(self.port)], cwd=self.data_dir, env=base_environment())

    def _answers(self) -> bool:
        try:
            return b"ok" in self._ask("GET", "/health")
        except (OSError, http.client.HTTPException, ValueError):
            return False

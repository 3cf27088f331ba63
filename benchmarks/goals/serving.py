"""The API under the stream's load: questions on a fixed schedule, timed from when each was due."""

import http.client
import itertools
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import psycopg

from engagement_stream.bench.latency import SINKS
from engagement_stream.bench.rig import Rig, stop_process, wait_for
from engagement_stream.pipeline.programs import free_port

_WARM_UP_S = 10.0
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Served:
    """Milliseconds of every answer to one kind of question, sorted."""

    path: str
    answers_ms: list[float]

    def at(self, q: float) -> float:
        """The quantile."""
        return self.answers_ms[min(int(len(self.answers_ms) * q), len(self.answers_ms) - 1)]


def measure_serving(rig: Rig, rate_per_s: float, seconds: float, questions_per_s: float, tell: Tell) -> list[Served]:
    """All stages at `rate_per_s` events; the questions alternate over one kept connection."""
    port = free_port()
    with rig.stages("capture", "enrich", *SINKS) as running:
        endpoints = ",".join(f"{name}={stage.url}" for name, stage in running.items())
        api = rig.run("api", API_PORT=str(port), STAGE_ENDPOINTS=endpoints)
        traffic = rig.generate("continuous", "--rate", f"{rate_per_s:g}", "--fixed-content")
        try:
            # The plainest client there is: a comfortable one takes a third of a millisecond itself.
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)) as client:
                wait_for(lambda: _answers(client), 60.0, "the API to answer", every_s=0.2)
                tell(f"{rate_per_s:,.0f} events/s, {questions_per_s:,.0f} questions/s for {seconds:.0f} s ...")
                time.sleep(_WARM_UP_S)
                client.close()  # the API has done so by now: it keeps an idle connection for 5 s
                return _ask(client, ["/top-content", f"/content/{_a_content(rig)}/stats"], seconds, questions_per_s)
        finally:
            stop_process(traffic)
            stop_process(api)


def _ask(client: http.client.HTTPConnection, paths: list[str], seconds: float, questions_per_s: float) -> list[Served]:
    found: dict[str, list[float]] = {path: [] for path in paths}
    began_s = time.monotonic()
    for number, path in enumerate(itertools.cycle(paths)):
        due_s = began_s + number / questions_per_s
        if due_s - began_s >= seconds:
            break
        time.sleep(max(due_s - time.monotonic(), 0.0))
        status = _status(client, path)
        assert status == http.client.OK, f"{path} is answered with {status}"
        found[path].append(round((time.monotonic() - due_s) * 1000, 3))
    names = ("/top-content", "/content/{id}/stats")
    return [Served(name, sorted(found[path])) for name, path in zip(names, paths, strict=True)]


def _status(client: http.client.HTTPConnection, path: str) -> int:
    client.request("GET", path)
    answer = client.getresponse()
    answer.read()
    return answer.status


def _answers(client: http.client.HTTPConnection) -> bool:
    try:
        return _status(client, "/top-content") == http.client.OK
    except (OSError, http.client.HTTPException):
        client.close()
        return False


def _a_content(rig: Rig) -> str:
    with psycopg.connect(rig.settings.postgres.database_url.get_secret_value()) as source:
        found = source.execute(
            "select content_id from engagement_events where content_id is not null order by id desc limit 1"
        )
        row = found.fetchone()
    assert row is not None, "there is traffic"
    return str(row[0])

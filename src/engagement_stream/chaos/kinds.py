"""The vocabulary of faults: what there is to break, for how long, and which stages feel it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

SERVERS = ("postgres", "kafka", "valkey", "bigquery-server", "receiver")
SOURCE = "source"
STAGES = ("capture", "enrich", "redis", "bigquery", "http")
TRUNK = ("capture", "enrich")
"""Every sink waits when one of these does."""

_FELT_BY: Mapping[str, str] = {
    "postgres": "capture",
    "kafka": "capture",
    SOURCE: "capture",
    "valkey": "redis",
    "bigquery-server": "bigquery",
    "receiver": "http",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to break something.

    `hold_s` is how long it lasts at least and at most. `settle_s` is what the plan reckons for the recovery.
    `lasting`: the fault goes on in the background, others follow before it is over.
    """

    name: str
    says: str
    targets: tuple[str, ...]
    hold_s: tuple[float, float] = (0.0, 0.0)
    settle_s: float = 2.0
    copies: int = 1
    lasting: bool = False


def stages_felt(target: str) -> tuple[str, ...]:
    """The stages whose progress a fault at this target may stop, in the order of the flow."""
    stage = _FELT_BY.get(target, target)
    return STAGES[STAGES.index(stage) :] if stage in TRUNK else (stage,)


KINDS = (
    Kind("kill", "SIGKILL a stage at a random moment", STAGES, settle_s=3.0, copies=2),
    Kind("crash point", "SIGKILL a stage, and its successor at a named step", STAGES, settle_s=5.0, copies=2),
    Kind(
        "zombie",
        "freeze a stage for longer than its session while a successor runs, then wake it",
        STAGES,
        (22.0, 28.0),
        settle_s=5.0,
        lasting=True,
    ),
    Kind("pause", "freeze a stage for less than its session", STAGES, (1.0, 6.0)),
    Kind("twin", "start a second process with the same worker number", STAGES, settle_s=5.0, lasting=True),
    Kind("restart", "stop a stage in good order, start it again", STAGES, settle_s=3.0),
    Kind("rebalance", "1 -> 3 -> 1 workers", STAGES[1:], (5.0, 8.0), settle_s=20.0),
    Kind("server killed", "SIGKILL a server, start it again", SERVERS, (0.3, 3.0), settle_s=4.0),
    Kind("server restarted", "stop a server in good order, start it again", SERVERS, (0.3, 3.0), settle_s=4.0),
    Kind("server frozen", "SIGSTOP a server, then SIGCONT", SERVERS, (2.0, 10.0), settle_s=3.0),
    Kind("connections reset", "reset every connection of a server", SERVERS, settle_s=1.5),
    Kind("black hole", "nothing passes and what is sent is lost", SERVERS, (2.0, 8.0), settle_s=3.0),
    Kind("late delivery", "nothing passes now, everything passes late", SERVERS, (2.0, 13.0), settle_s=2.0),
    Kind("slow network", "each piece waits, few bytes a second pass", SERVERS, (3.0, 7.0)),
    Kind("answers cut", "connections end in the middle of an answer", SERVERS, (0.5, 3.0)),
    Kind("answers swallowed", "the server acts, its answer is lost", SERVERS, (0.5, 3.0)),
    Kind("connections refused", "nobody listens", SERVERS, (1.0, 5.0)),
    Kind("FLUSHALL", "Valkey forgets everything: the sink goes back to the log's beginning", ("valkey",), settle_s=5.0),
    Kind("SCRIPT FLUSH", "Valkey forgets the script", ("valkey",)),
    Kind("walsender ended", "pg_terminate_backend of the slot's walsender", ("postgres",), copies=2),
    Kind("receiver refuses", "answers 500, 502 or 503 and stores nothing", ("receiver",), (1.0, 5.0)),
    Kind("receiver limits", "answers 429 with Retry-After", ("receiver",), (1.0, 4.0)),
    Kind("receiver silent", "stores, and answers only after the sink has given up", ("receiver",), settle_s=14.0),
    Kind("receiver hangs up", "stores, and closes the connection without an answer", ("receiver",), settle_s=2.0),
    Kind("receiver trickles", "stores, and answers a byte at a time", ("receiver",), settle_s=4.0),
    Kind("large transaction", "thousands of events and a content edit in one transaction", (SOURCE,), copies=2),
    Kind(
        "content edits", "many contents edited, events in between, some of it in one transaction", (SOURCE,), copies=2
    ),
)
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}

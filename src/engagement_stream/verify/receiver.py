"""The embedded receiver: what it kept after its dedup, by its own pages."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from engagement_stream.settings import HttpSettings
from engagement_stream.stack.ports import HOST
from engagement_stream.stack.receiver import ReceiverServer
from engagement_stream.verify.canon import microseconds
from engagement_stream.verify.ledger import Ledger

Tell = Callable[[int], None]
_CHUNK = 5_000
BACKFILL = "backfill"


class _Data(msgspec.Struct, gc=False):
    event_id: int
    event_ts: str
    source: str


_decode = msgspec.json.Decoder(_Data).decode


def embedded_receiver(http: HttpSettings, data_dir: Path) -> ReceiverServer | None:
    """The receiver of this data directory if EXTERNAL_API_URL leads there; a foreign system cannot be asked."""
    if http.url is None:
        return None
    parts = urlsplit(http.url.get_secret_value())
    directory = data_dir / "receiver"
    if parts.hostname not in {HOST, "localhost"} or parts.port is None or not directory.is_dir():
        return None
    return ReceiverServer(directory, parts.port)


@dataclass(slots=True)
class Arrivals:
    """How far the receiver was read, and what its rows do not tell."""

    last: int = 0
    """Number of the last first arrival that was read."""
    differing: int = 0
    """Events of this round that came again with other data."""


def read_receiver(
    receiver: ReceiverServer, since_us: int | None, ledger: Ledger, arrivals: Arrivals, tell: Tell
) -> Arrivals:
    """Digest the data of every event behind `arrivals.last`, in the order of first arrival."""
    found = Arrivals(arrivals.last)
    batch: list[tuple[int, int, int | None, str]] = []
    for event in receiver.events(found.last):
        data = bytes(event.data)
        about = _decode(data)
        found.last = event.seq
        found.differing += event.differing > 0
        # A backfilled event has no place in the log: its bytes are its own.
        digest = None if about.source == BACKFILL else hash(data)
        batch.append((event.seq, about.event_id, digest, about.event_ts))
        if len(batch) >= _CHUNK:
            _add(batch, since_us, ledger)
            tell(len(batch))
            batch.clear()
    _add(batch, since_us, ledger)
    tell(len(batch))
    return found


def _add(batch: list[tuple[int, int, int | None, str]], since_us: int | None, ledger: Ledger) -> None:
    if since_us is None:
        ledger.add("http", [(0, seq, event_id, 1, 1, digest) for seq, event_id, digest, _ in batch])
        return
    moments = microseconds([event_ts for *_, event_ts in batch])
    ledger.add(
        "http",
        [
            (0, seq, event_id, 1, 1, digest)
            for (seq, event_id, digest, _), at_us in zip(batch, moments, strict=True)
            if at_us is None or at_us >= since_us
        ],
    )


def receiver_data(receiver: ReceiverServer, ids: set[int]) -> dict[int, list[bytes]]:
    """What was kept of these events, to show what differs."""
    found: dict[int, list[bytes]] = {}
    for event in receiver.events():
        data = bytes(event.data)
        about = _decode(data)
        if about.event_id in ids:
            found.setdefault(about.event_id, []).append(data)
    return found

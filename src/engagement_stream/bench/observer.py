"""An observer from outside: writes an event of its own now and then and polls Redis until it shows there.

The stages' own histograms end at the sink's receipt; this ends where a reader sees the event, and begins before the
INSERT is sent, so it can only be the larger one. Closed loop: one probe at a time, a fixed pause between them.
"""

import threading
import time
import uuid

import psycopg
import redis

from engagement_stream.settings import Settings
from engagement_stream.sinks.redis.keys import tag

_PAUSE_S = 0.2
_POLL_S = 0.001
_GIVE_UP_S = 10.0


class Observer(threading.Thread):
    """Start it, let it probe, `stop` it; then `seconds` holds what each probe took."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="observer", daemon=True)
        self._settings = settings
        self._over = threading.Event()
        self._content = str(uuid.uuid4())
        self.seconds: list[float] = []
        self.lost = 0

    def stop(self) -> None:
        """Returns when the last probe is over."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """Probe until stopped."""
        url = self._settings.postgres.database_url.get_secret_value()
        reader = redis.Redis.from_url(self._settings.redis.url.get_secret_value())
        with psycopg.connect(url, autocommit=True) as source, reader:
            source.execute(
                "insert into content (id, slug, title, publish_ts) values (%s, %s, 'probe', now())",
                (self._content, f"probe-{self._content}"),
            )
            probes = 0
            while not self._over.wait(_PAUSE_S):
                started_s = time.monotonic()
                source.execute(
                    "insert into engagement_events (content_id, event_type, event_ts) values (%s, 'click', now())",
                    (self._content,),
                )
                probes += 1
                if self._shows(reader, probes, started_s + _GIVE_UP_S):
                    self.seconds.append(time.monotonic() - started_s)
                else:
                    self.lost += 1

    def _shows(self, reader: redis.Redis, events: int, deadline_s: float) -> bool:
        prefix, partitions = self._settings.redis.prefix, self._settings.kafka.partitions
        while time.monotonic() < deadline_s:
            with reader.pipeline(transaction=False) as pipe:
                for partition in range(partitions):
                    pipe.hget(f"{tag(prefix, partition)}content:{self._content}", "events")
                if sum(int(count or 0) for count in pipe.execute()) >= events:
                    return True
            time.sleep(_POLL_S)
        return False

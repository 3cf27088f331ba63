"""What the coordinator of a group knows of its members, asked from outside.

Two things seen after Kafka was restarted make it worth asking. A consumer that was fenced says so once and then
fetches nothing, without an error. And a coordinator can answer before it has read its part of the log (4.3.1: "the
state machine of the coordinator is out of sync with the underlying log", expected offset 1): until its first write
makes it read again, it knows no member and no position. Who is a member has been written by the very
coordinator that is asked, so that one has read its log.
"""

import time
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from engagement_stream.errors import Retry, Stalled
from engagement_stream.settings import KafkaSettings

_SEATLESS_S = 30.0


class Member(NamedTuple):
    """One member of a group, as its coordinator tells it."""

    member_id: str
    instance: str | None
    client_id: str


def sits_elsewhere(kafka: KafkaSettings, group: str, instance: str, client_id: str) -> bool:
    """Whether a client other than `client_id` holds the static membership `instance` of the group.

    After an outage a member can be fenced by its own repeated JoinGroup request, whose first answer was lost.
    Raises Retry.
    """
    return any(m.instance == instance and m.client_id != client_id for m in _members(kafka, group))


def is_member(kafka: KafkaSettings, group: str, reader: Consumer) -> bool:
    """Whether the coordinator knows this very consumer. Raises Retry."""
    member = reader.memberid()
    return bool(member) and any(m.member_id == member for m in _members(kafka, group))


class SeatWatch:
    """Notices a consumer without partitions that believes to be a member, while the group does not know it.

    A member without partitions may be in order: another worker has them all, or the group waits for a slow one.
    """

    def __init__(self, kafka: KafkaSettings, group: str, *, seatless_s: float = _SEATLESS_S) -> None:
        self._kafka, self._group, self._seatless_s = kafka, group, seatless_s
        self._since_s: float | None = None

    def seated(self) -> None:
        """Partitions were assigned."""
        self._since_s = None

    def look(self, reader: Consumer) -> None:
        """Call it while there are no partitions. Raises Stalled when only a new consumer helps; Retry."""
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < self._seatless_s:
            return
        self._since_s = now_s
        if reader.memberid() and not is_member(self._kafka, self._group, reader):
            raise Stalled(f"group {self._group} does not know this member any more")


def _members(kafka: KafkaSettings, group: str) -> list[Member]:
    admin = AdminClient({**kafka.client_config()})
    try:
        described = admin.describe_consumer_groups([group], request_timeout=10)[group].result(timeout=12)
    except (KafkaException, TimeoutError) as error:
        raise Retry(f"Kafka does not tell who is in group {group}: {error}") from error
    return [Member(m.member_id, m.group_instance_id, m.client_id) for m in described.members]

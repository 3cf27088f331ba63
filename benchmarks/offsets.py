"""How far a topic or a consumer group is, as the brokers tell it."""

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # not re-exported for type checkers
from confluent_kafka.cimpl import NewTopic


class Offsets:
    """One admin connection. Transaction markers count as records here: below a thousandth of them."""

    def __init__(self, bootstrap_servers: str, partitions: int = 4) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self._bootstrap = bootstrap_servers
        self._partitions = partitions
        self._groups: dict[str, Consumer] = {}

    def of_topic(self, topic: str) -> int:
        """Committed records of all partitions; 0 while there is no such topic."""
        wanted = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(self._partitions)}  # type: ignore[no-untyped-call]  # untyped upstream
        answers = self._admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=10)
        try:
            return sum(future.result().offset for future in answers.values())
        except KafkaException:
            return 0

    def of_group(self, group: str, topic: str) -> int:
        """Committed positions of all partitions.

        By a consumer that joins nothing: librdkafka 2.16's admin client was seen to end the process when a group's
        coordinator is not there yet.
        """
        if group not in self._groups:
            self._groups[group] = Consumer({"bootstrap.servers": self._bootstrap, "group.id": group, "log_level": 0})
        parts = [TopicPartition(topic, number) for number in range(self._partitions)]
        try:
            found = self._groups[group].committed(parts, 10)
        except KafkaException:
            return 0
        return sum(max(part.offset, 0) for part in found)

    def ensure(self, topic: str) -> None:
        """A plain topic for a peer's output, unless it is there."""
        if topic in self._admin.list_topics(timeout=10).topics:
            return
        for future in self._admin.create_topics([NewTopic(topic, self._partitions, 1)]).values():
            future.result()

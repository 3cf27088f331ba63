"""The brokers and our topics: reachable, new enough, and every topic as broker/topics.py would make it."""

import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource  # not re-exported for type checkers
from confluent_kafka.admin._resource import ResourceType  # the same

from engagement_stream.broker.topics import TopicSpec, topic_specs
from engagement_stream.doctor.clock import judge_clock, skew_s
from engagement_stream.doctor.examination import Examination
from engagement_stream.doctor.kafka_release import OLDEST, offered_by, release_of
from engagement_stream.settings import KafkaSettings, Settings

_TIMEOUT_S = 5.0
_CLOCK_KEY = b"doctor/clock"
"""In capture's compacted topic, beside the records of slots: one record, whose only purpose is the broker's stamp."""
_MUST_BE = frozenset({"cleanup.policy", "message.timestamp.type"})
_AT_LEAST = {"max.message.bytes": "error", "min.compaction.lag.ms": "error", "retention.ms": "warning"}
_GROUPS_KEPT_MINUTES = 7 * 24 * 60

Configs = Mapping[str, Mapping[str, str]]
"""Topic -> its configs."""


def check(settings: Settings) -> Examination:
    """Release, brokers, topics, configs, clock."""
    of, kafka = Examination(), settings.kafka
    admin = AdminClient({**kafka.client_config(), "socket.timeout.ms": int(_TIMEOUT_S * 1000)})
    try:
        listed = admin.list_topics(timeout=_TIMEOUT_S)
        present = {name: len(topic.partitions) for name, topic in listed.topics.items()}
        ours = [spec.name for spec in topic_specs(kafka) if spec.name in present]
        configs = _configs(admin, ResourceType.TOPIC, ours)
        broker = next(iter(listed.brokers))
        server = _configs(admin, ResourceType.BROKER, [str(broker)])[str(broker)]
    except (KafkaException, TimeoutError) as error:
        what = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
        of.error(
            f"Kafka at {kafka.bootstrap_servers} cannot be asked: {what}",
            "start it, or correct KAFKA_BOOTSTRAP_SERVERS (and KAFKA_SECURITY_PROTOCOL) in .env",
        )
        return of
    _check_release(of, kafka)
    copies = {name: min(len(part.replicas) for part in listed.topics[name].partitions.values()) for name in ours}
    judge_topics(of, kafka, present, copies, configs)
    judge_server(of, kafka, len(listed.brokers), server)
    if kafka.progress_topic in present:
        _check_clock(of, kafka)
    return of


def judge_topics(
    of: Examination, kafka: KafkaSettings, present: Mapping[str, int], copies: Mapping[str, int], configs: Configs
) -> None:
    """`present`: topic -> partitions. Pure."""
    specs = topic_specs(kafka)
    missing = [spec.name for spec in specs if spec.name not in present]
    of.saw(f"{len(specs) - len(missing)} of {len(specs)} topics")
    if len(missing) == len(specs):
        of.note("no topic of ours is there yet: the first start makes them", "./start.sh   (or engagement stream)")
    elif missing:
        of.error(
            f"of our topics {', '.join(missing)} is missing while others are there: what it held is lost",
            "if it was deleted by mistake, restore it; a stage that starts makes it anew, empty",
        )
    for spec in (spec for spec in specs if spec.name in present):
        if present[spec.name] != spec.partitions:
            of.error(
                f"topic {spec.name} has {present[spec.name]} partitions, the settings say {spec.partitions}",
                f"KAFKA_PARTITIONS={present[spec.name]} in .env"
                if spec.partitions > 1
                else f"drain all stages, delete {spec.name} and let it be made anew",
            )
        if copies[spec.name] < kafka.replication_factor:
            of.warning(
                f"topic {spec.name} has {copies[spec.name]} copies, the settings say {kafka.replication_factor}",
                f"kafka-reassign-partitions --bootstrap-server {kafka.bootstrap_servers} --execute ...   "
                "(or KAFKA_REPLICATION_FACTOR in .env)",
            )
        _judge_configs(of, kafka, spec, configs[spec.name])


def _judge_configs(of: Examination, kafka: KafkaSettings, spec: TopicSpec, found: Mapping[str, str]) -> None:
    for name, wanted in spec.config.items():
        value = found.get(name, "")
        if value == wanted or (name in _AT_LEAST and _at_least(value, wanted)):
            continue
        mend = (
            f"kafka-configs --bootstrap-server {kafka.bootstrap_servers} --alter --entity-type topics "
            f"--entity-name {spec.name} --add-config {name}={wanted}"
        )
        what = f"topic {spec.name} has {name}={value}, made with {wanted}"
        if name in _MUST_BE or _AT_LEAST.get(name) == "error":
            of.error(what, mend)
        elif name in _AT_LEAST:
            of.warning(what, mend)
        else:
            of.note(what, mend)


def _at_least(value: str, wanted: str) -> bool:
    """-1 is without end."""
    if not value.lstrip("-").isdigit():
        return False
    return int(value) == -1 or (int(wanted) != -1 and int(value) >= int(wanted))


def judge_server(of: Examination, kafka: KafkaSettings, brokers: int, server: Mapping[str, str]) -> None:
    """Settings of the brokers themselves. Pure."""
    of.saw(f"{brokers} broker{'s' if brokers > 1 else ''}")
    if brokers < kafka.replication_factor:
        of.error(
            f"KAFKA_REPLICATION_FACTOR is {kafka.replication_factor}, and there are {brokers} brokers: topics cannot "
            "be made",
            f"KAFKA_REPLICATION_FACTOR={brokers} in .env, or start more brokers",
        )
    if server.get("auto.create.topics.enable") == "true":
        of.warning(
            "the brokers make topics by themselves: a stage that starts too early could get one with wrong configs",
            "auto.create.topics.enable=false in server.properties of every broker, then restart it",
        )
    kept_minutes = server.get("offsets.retention.minutes", "")
    if kept_minutes.isdigit() and int(kept_minutes) < _GROUPS_KEPT_MINUTES:
        of.warning(
            f"the brokers forget the position of a stage that is away for {int(kept_minutes) / 60:.0f} hours",
            "offsets.retention.minutes=43200 in server.properties of every broker, then restart it",
        )


def _check_release(of: Examination, kafka: KafkaSettings) -> None:
    try:
        release = release_of(offered_by(kafka))
    except (OSError, ValueError) as error:
        of.note(f"the first broker of KAFKA_BOOTSTRAP_SERVERS does not tell its release: {error}", "start that broker")
        return
    of.saw(f"Kafka {release[0]}.{release[1]} or newer")
    if release < OLDEST:
        of.error("the brokers are too old for transactions with offsets", "upgrade Kafka to 2.5 or newer")


def _check_clock(of: Examination, kafka: KafkaSettings) -> None:
    """A record that nobody reads: its topic is compacted, and the broker stamps what it appends."""
    stamped_s: list[float] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            stamped_s.append(message.timestamp()[1] / 1000)

    producer = Producer({**kafka.client_config(), "linger.ms": 0, "message.timeout.ms": int(_TIMEOUT_S * 1000)})
    try:
        producer.list_topics(kafka.progress_topic, timeout=_TIMEOUT_S)  # connects first, or that would count as skew
        before_s = time.time()
        producer.produce(kafka.progress_topic, b"", _CLOCK_KEY, 0, on_delivery=delivered)
        producer.flush(_TIMEOUT_S)
    except KafkaException:
        return
    if stamped_s:
        # Stamps are whole milliseconds, rounded down.
        judge_clock(of, "Kafka", skew_s(before_s - 0.001, stamped_s[0], time.time()))


def _configs(admin: AdminClient, kind: ResourceType, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = admin.describe_configs([ConfigResource(kind, name) for name in names], request_timeout=_TIMEOUT_S)
    return {
        resource.name: {name: entry.value or "" for name, entry in future.result(timeout=_TIMEOUT_S).items()}
        for resource, future in asked.items()
    }

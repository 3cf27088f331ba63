"""The doctor's judgements: what counts as wrong, and that each finding names what mends it."""

from pathlib import Path
from typing import Any

import pytest

from engagement_stream.broker.topics import topic_specs
from engagement_stream.capture.pgoutput import Column
from engagement_stream.doctor import kafka, machine, postgres, redis, slot, stages
from engagement_stream.doctor.clock import judge_clock, skew_s
from engagement_stream.doctor.examination import Examination, Examined, report_of
from engagement_stream.doctor.kafka_release import release_of
from engagement_stream.doctor.postgres import Facts
from engagement_stream.settings import KafkaSettings, PostgresSettings

_TYPES = {"id": 20, "content_id": 2950, "user_id": 2950, "event_ts": 1184, "duration_ms": 23, "raw_payload": 3802}
_EVENTS = ("id", "content_id", "user_id", "event_type", "event_ts", "duration_ms", "device", "raw_payload")
_CONTENT = {"id": 2950, "slug": 25, "title": 25, "content_type": 25, "length_seconds": 23, "publish_ts": 1184}


def _facts(**changes: Any) -> Facts:
    table = {"readable": True, "identity": "f"}
    good: dict[str, Any] = {
        "server": {
            "version": 180006,
            "wal_level": "logical",
            "role": "app",
            "replication": True,
            "replication_remedy": "ALTER ROLE app REPLICATION",
        },
        "extra": {"release": "18.6", "commit_timestamps": "on", "slots_used": 1, "slots_allowed": 10},
        "tables": {"content": table, "engagement_events": table},
        "columns": {
            "engagement_events": tuple(Column(name, _TYPES.get(name, 25)) for name in _EVENTS),
            "content": tuple(Column(name, oid) for name, oid in _CONTENT.items()),
        },
        "publication": {"complete": True, "tables": ["content", "engagement_events"]},
        "has_slot": True,
    }
    return Facts(**{key: good[key] | changes[key] if key in changes else good[key] for key in good})


def _judged(facts: Facts) -> Examination:
    of = Examination()
    postgres.judge(of, PostgresSettings(), facts)
    return of


def test_a_source_that_is_as_it_should_be_has_no_findings() -> None:
    """And what was seen is told all the same."""
    of = _judged(_facts())
    assert of.findings == []
    assert "18.6" in of.seen[0]


@pytest.mark.parametrize(
    ("changes", "severity", "what", "mend"),
    [
        ({"server": {"wal_level": "replica"}}, "error", "wal_level is replica", "ALTER SYSTEM SET wal_level = logical"),
        ({"server": {"version": 130000}}, "error", "too old", "14 or newer"),
        ({"server": {"replication": False}}, "error", "may not replicate", "ALTER ROLE app REPLICATION"),
        ({"extra": {"commit_timestamps": "off"}}, "warning", "track_commit", "SET track_commit_timestamp = on"),
        ({"publication": {"complete": False}}, "error", "leaves operations out", "SET (publish = "),
        ({"publication": {"tables": ["content"]}}, "error", "not in the publication", "ADD TABLE engagement_events"),
        ({"columns": {"content": (Column("id", 2950),)}}, "error", "column slug of table content is gone", "undo"),
    ],
)
def test_each_defect_of_the_source_is_named_with_its_cure(
    changes: dict[str, Any], severity: str, what: str, mend: str
) -> None:
    """One finding for one defect."""
    (finding,) = _judged(_facts(**changes)).findings
    assert finding.severity == severity
    assert what in finding.what
    assert mend in finding.mend


def test_a_full_house_of_slots_matters_only_before_ours_is_made() -> None:
    """The slot that is there keeps its place."""
    full = {"extra": {"slots_used": 10}}
    assert _judged(_facts(**full)).findings == []
    facts = _facts(**full)
    without = Facts(facts.server, facts.extra, facts.tables, facts.columns, facts.publication, has_slot=False)
    assert "max_replication_slots = 20" in _judged(without).findings[0].mend


@pytest.mark.parametrize(
    ("times", "ahead_s"), [((10.0, 10.1, 10.2), 0.0), ((10.0, 13.2, 10.2), 3.0), ((10.0, 8.5, 10.2), -1.5)]
)
def test_a_clock_is_wrong_only_when_it_lies_outside_of_two_looks_of_ours(
    times: tuple[float, float, float], ahead_s: float
) -> None:
    """A slow answer is no skew."""
    assert skew_s(*times) == pytest.approx(ahead_s)
    of = Examination()
    judge_clock(of, "Redis", skew_s(*times))
    assert bool(of.findings) == bool(ahead_s)


def _topics(**of_events: str) -> Examination:
    settings, of = KafkaSettings(), Examination()
    specs = topic_specs(settings)
    configs = {spec.name: dict(spec.config) for spec in specs}
    configs[settings.events_topic] |= {name.replace("_", "."): value for name, value in of_events.items()}
    present = {spec.name: spec.partitions for spec in specs}
    kafka.judge_topics(of, settings, present, dict.fromkeys(present, 1), configs)
    return of


def test_topics_as_we_make_them_have_no_findings_and_neither_have_roomier_ones() -> None:
    """Keeping more, longer, is a person's good right."""
    assert _topics().findings == []
    assert _topics(retention_ms="-1", max_message_bytes="99999999").findings == []


@pytest.mark.parametrize(
    ("config", "value", "severity"),
    [
        ("retention_ms", "3600000", "warning"),
        ("max_message_bytes", "1048588", "error"),
        ("cleanup_policy", "compact", "error"),
        ("message_timestamp_type", "CreateTime", "error"),
        ("segment_ms", "1", "note"),
    ],
)
def test_a_topic_that_keeps_less_than_ours_is_found(config: str, value: str, severity: str) -> None:
    """With the command that sets it right."""
    (finding,) = _topics(**{config: value}).findings
    assert finding.severity == severity
    assert f"--entity-name engagement-events --add-config {config.replace('_', '.')}=" in finding.mend


def test_one_missing_topic_is_a_loss_and_none_at_all_is_a_first_start() -> None:
    """Stages make topics, so doctor has to tell the two apart."""
    settings = KafkaSettings()
    specs = topic_specs(settings)
    configs = {spec.name: dict(spec.config) for spec in specs}
    some = {spec.name: spec.partitions for spec in specs[1:]}
    of = Examination()
    kafka.judge_topics(of, settings, some, dict.fromkeys(some, 1), configs)
    assert [finding.severity for finding in of.findings] == ["error"]
    of = Examination()
    kafka.judge_topics(of, settings, {}, {}, {})
    assert [finding.severity for finding in of.findings] == ["note"]


def test_brokers_that_forget_or_guess_are_told_of() -> None:
    """Positions that expire and topics that appear by themselves."""
    of = Examination()
    server = {"auto.create.topics.enable": "true", "offsets.retention.minutes": "1440"}
    kafka.judge_server(of, KafkaSettings(replication_factor=3), 1, server)
    assert [finding.severity for finding in of.findings] == ["error", "warning", "warning"]


def test_a_release_is_told_by_what_a_broker_offers() -> None:
    """The newest sign counts."""
    assert release_of({28: 3, 1: 12}) == (2, 7)
    assert release_of({28: 2}) == (0, 0)
    assert release_of({0: 13, 28: 5, 68: 1, 24: 5}) == (4, 0)


@pytest.mark.parametrize(
    ("told", "severity", "mend"),
    [
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 1_000_000}, "error", "noeviction"),
        ({"maxmemory_policy": "volatile-lru"}, "warning", "CONFIG SET maxmemory-policy noeviction"),
        ({"aof_enabled": 0}, "warning", "CONFIG SET appendonly yes"),
        ({"redis_version": "6.2.1"}, "error", "Redis >= 7"),
        ({"role": "slave"}, "error", "REDIS_URL"),
        ({"cluster_enabled": 1}, "error", "REDIS_URL"),
        ({"maxmemory": 1_000_000, "used_memory": 950_000}, "warning", "CONFIG SET maxmemory 2000000"),
    ],
)
def test_a_redis_that_could_lose_totals_is_found(told: dict[str, object], severity: str, mend: str) -> None:
    """From its INFO."""
    good: dict[str, object] = {
        "redis_version": "7.4.0",
        "maxmemory_policy": "noeviction",
        "aof_enabled": 1,
        "maxmemory": 0,
    }
    of = Examination()
    redis.judge(of, good)
    assert of.findings == []
    redis.judge(of, good | told)
    (finding,) = of.findings
    assert (finding.severity, mend in finding.mend) == (severity, True)


def test_a_slot_that_nobody_reads_is_told_before_it_fills_the_disk() -> None:
    """Inactive, far behind, and about to lose what it needs."""
    row = {"lag_bytes": 3 << 30, "active_pid": None, "slot": {"wal_status": "unreserved"}}
    of = Examination()
    slot.judge_slot(of, "s", row)
    assert [finding.severity for finding in of.findings] == ["warning", "warning", "error"]


def test_little_room_is_a_warning_and_none_is_an_error() -> None:
    """Of the disk that holds the data."""
    found = []
    for free_bytes in (100_000_000_000, 2_000_000_000, 500_000_000):
        of = Examination()
        machine.judge(of, Path("data"), free_bytes)
        found.append([finding.severity for finding in of.findings])
    assert found == [[], ["warning"], ["error"]]


def test_a_stage_that_is_not_well_tells_its_own_remedy() -> None:
    """The words of /health."""
    of = Examination()
    well = {"state": "running", "healthy": True, "reason": "", "remedy": ""}
    halted = {"state": "halted", "healthy": False, "reason": "the slot is gone", "remedy": "make it again"}
    stages.judge(of, {"redis": well, "capture": halted})
    assert [(finding.what, finding.mend) for finding in of.findings] == [
        ("capture is halted: the slot is gone", "make it again")
    ]


def test_only_errors_make_the_exit_code() -> None:
    """Warnings and notes are for reading."""
    of = Examination()
    of.warning("w", "m")
    of.note("n", "m")
    assert report_of([Examined("a", "", of.findings, 0.0)]).exit_code == 0
    of.error("e", "m")
    report = report_of([Examined("a", "", of.findings, 0.0)])
    assert (report.exit_code, report.errors, report.warnings) == (1, 1, 1)

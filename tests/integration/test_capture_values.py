"""Whatever PostgreSQL holds arrives as it is, by the first copy and by the live stream alike."""

import hashlib
import json
from collections.abc import Iterator

import msgspec
import psycopg
import pytest

from engagement_stream.broker.consumer import read_range
from engagement_stream.broker.topics import RAW_MAX_BYTES
from engagement_stream.model.change import WATERMARK_PREFIX, EventChange
from engagement_stream.settings import KafkaSettings, PostgresSettings
from tests.fixtures.capture import (
    CaptureProcess,
    capture,
    contents_in_topic,
    events_in_topic,
    raw_events_in_topic,
)
from tests.fixtures.waiting import wait_until

CONTENT = "11111111-1111-4111-8111-111111111111"
OTHER_CONTENT = "22222222-2222-4222-8222-222222222222"
ODD_ROWS = [
    # (event_ts, as ISO 8601 in UTC), device, raw_payload
    (("2025-08-01 12:00:00.5+02", "2025-08-01T10:00:00.5Z"), "", None),
    (("infinity", "infinity"), '\x01\x08\t\n\x0b\x0c\r\x1f\x7f"\\/', "{}"),
    (("-infinity", "-infinity"), "\\N", "[]"),
    (("0044-03-15 00:00:00+00 BC", "0044-03-15T00:00:00Z BC"), "\\.", '{"big": 123456789012345678901234567890.5e-3}'),
    (
        ("294276-12-31 23:59:59.999999+00", "294276-12-31T23:59:59.999999Z"),
        "a\tb\\tc",
        '["\\u00e9\\n\\t\\"\\\\", "عربى"]',
    ),
    (("0001-01-01 00:00:00+00", "0001-01-01T00:00:00Z"), "😀🏳️‍🌈 e\u0301 \u202eabc \ufffe\uffff\u2028", "null"),
    (("2025-01-01 00:00:00.000001+00", "2025-01-01T00:00:00.000001Z"), None, '"😀"'),
]


@pytest.fixture
def database(postgres_settings: PostgresSettings) -> Iterator[psycopg.Connection]:
    """A session of the source; one content is there."""
    with psycopg.connect(postgres_settings.database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute(
            "insert into content values (%s, 'a', 'Títle \"x\"', 'video', 100, '2025-01-01 00:00:00.5+02')", (CONTENT,)
        )
        yield connection


@pytest.fixture
def process(
    database: psycopg.Connection, postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> Iterator[CaptureProcess]:
    """A capture that streams."""
    with capture(postgres_settings, kafka_settings) as started:
        started.wait_for_phase("streaming")
        yield started


def _insert_odd_rows(database: psycopg.Connection) -> None:
    for (event_ts, _iso), device, payload in ODD_ROWS:
        database.execute(
            "insert into engagement_events (event_ts, device, raw_payload) values (%s, %s, %s)",
            (event_ts, device, payload),
        )


def _wait_for(kafka: KafkaSettings, count: int) -> list[EventChange]:
    return (
        wait_until(
            lambda: found if len(found := events_in_topic(kafka)) >= count else None, 30, f"{count} records arrive"
        )
        or []
    )


def test_every_kind_of_value_arrives_unchanged_by_both_ways(
    database: psycopg.Connection, postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """NULLs, empty strings, control characters, odd Unicode, infinity, BC, year 294276, big numbers in jsonb."""
    _insert_odd_rows(database)
    texts = {row[0]: row[1] for row in database.execute("select id, raw_payload::text from engagement_events")}
    with capture(postgres_settings, kafka_settings) as process:
        process.wait_for_phase("streaming")
        _insert_odd_rows(database)
        records = sorted(_wait_for(kafka_settings, 2 * len(ODD_ROWS)), key=lambda r: r.after.id if r.after else 0)
        process.stop()
    copied, streamed = records[: len(ODD_ROWS)], records[len(ODD_ROWS) :]
    assert [r.op for r in records] == ["r"] * len(ODD_ROWS) + ["c"] * len(ODD_ROWS)
    for (old, new), ((_, iso), device, _payload) in zip(zip(copied, streamed, strict=True), ODD_ROWS, strict=True):
        assert old.after is not None
        assert new.after is not None
        assert msgspec.structs.replace(new.after, id=old.after.id) == old.after
        assert (old.after.event_ts, old.after.device) == (iso, device)
        assert old.after.raw_payload == texts[old.after.id]


def test_the_envelope_is_the_one_that_debezium_consumers_know(
    database: psycopg.Connection, process: CaptureProcess, kafka_settings: KafkaSettings
) -> None:
    """before, after, source with all its fields, op, ts_ms; position and catalog stand in source."""
    database.execute("insert into engagement_events (content_id, event_ts) values (%s, now())", (CONTENT,))
    _wait_for(kafka_settings, 1)
    record = json.loads(raw_events_in_topic(kafka_settings)[0])
    assert record.keys() == {"before", "after", "source", "op", "ts_ms"}
    source = record["source"]
    assert source["connector"] == "postgresql"
    assert source["name"] == kafka_settings.prefix
    assert (source["schema"], source["table"], source["snapshot"]) == ("public", "engagement_events", "false")
    row = database.execute("select pg_xact_commit_timestamp(xmin), xmin::text from engagement_events").fetchone()
    assert row is not None
    assert source["txId"] == int(row[1])
    assert source["ts_us"] == int(row[0].timestamp() * 1_000_000)
    assert source["position"] == [source["lsn"], 2]
    assert source["catalog"] < source["position"]


def test_an_update_that_leaves_a_large_value_alone_tells_it_all_the_same(
    database: psycopg.Connection, process: CaptureProcess, kafka_settings: KafkaSettings
) -> None:
    """PostgreSQL does not send a TOASTed value again; it is filled in from the old row."""
    database.execute("alter table engagement_events alter raw_payload set storage external")
    large = json.dumps("x" * 20_000)
    database.execute("insert into engagement_events (event_ts, raw_payload) values (now(), %s)", (large,))
    database.execute("update engagement_events set device = 'new'")
    created, updated = _wait_for(kafka_settings, 2)
    assert updated.op == "u"
    assert created.after is not None
    assert updated.before == created.after
    assert updated.after == msgspec.structs.replace(created.after, device="new")
    assert updated.after.raw_payload == large


def test_a_truncate_is_told_once_to_every_partition_and_to_the_content_topic(
    database: psycopg.Connection, process: CaptureProcess, kafka_settings: KafkaSettings
) -> None:
    """TRUNCATE has no key, so each partition learns of it."""
    database.execute("truncate content, engagement_events")
    records = _wait_for(kafka_settings, kafka_settings.partitions)
    assert [r.op for r in records] == ["t"] * kafka_settings.partitions
    truncated = contents_in_topic(kafka_settings)[-1]
    assert truncated.op == "t"
    assert {truncated.source.position[0]} == {r.source.position[0] for r in records}
    assert truncated.source.position not in {r.source.position for r in records}


def test_a_content_that_changes_its_id_ends_and_begins_in_one_go(
    database: psycopg.Connection, process: CaptureProcess, kafka_settings: KafkaSettings
) -> None:
    """A delete of the old id and a create of the new one, at positions of their own; catalog follows."""
    database.execute("update content set id = %s", (OTHER_CONTENT,))
    database.execute("insert into engagement_events (content_id, event_ts) values (%s, now())", (OTHER_CONTENT,))
    (event,) = _wait_for(kafka_settings, 1)
    _first, gone, begun = contents_in_topic(kafka_settings)
    assert (gone.op, begun.op) == ("d", "c")
    assert gone.before is not None
    assert begun.after is not None
    assert (gone.before.id, begun.after.id) == (CONTENT, OTHER_CONTENT)
    assert gone.source.position < begun.source.position == event.source.catalog < event.source.position


def test_rows_of_one_transaction_stand_in_their_order_with_the_catalog_of_their_moment(
    database: psycopg.Connection, process: CaptureProcess, kafka_settings: KafkaSettings
) -> None:
    """A content change between two events of one transaction lies between their positions; savepoints count alike."""
    with database.transaction():
        database.execute("insert into engagement_events (content_id, event_ts) values (%s, now())", (CONTENT,))
        with database.transaction():
            database.execute("update content set title = 'new'")
        database.execute("insert into engagement_events (content_id, event_ts) values (%s, now())", (CONTENT,))
    first, second = _wait_for(kafka_settings, 2)
    change = contents_in_topic(kafka_settings)[-1]
    assert first.source.catalog < first.source.position < change.source.position < second.source.position
    assert second.source.catalog == change.source.position
    assert [p[1] for p in (first.source.position, change.source.position, second.source.position)] == [2, 3, 4]


def test_watermarks_reach_every_partition_and_other_messages_none(
    database: psycopg.Connection, process: CaptureProcess, kafka_settings: KafkaSettings
) -> None:
    """Transactional or not; positions lie where the messages were written."""
    database.execute("select pg_logical_emit_message(false, 'somebody else', 'x')")
    database.execute("select pg_logical_emit_message(false, %s, 'one')", (WATERMARK_PREFIX,))
    database.execute("insert into engagement_events (event_ts) values (now())")
    database.execute("select pg_logical_emit_message(true, %s, 'two')", (WATERMARK_PREFIX,))
    count = 2 * kafka_settings.partitions + 1
    records = sorted(_wait_for(kafka_settings, count), key=lambda r: r.source.position)
    told = [r.message.content if r.message else r.op for r in records]
    assert told == ["one"] * kafka_settings.partitions + ["c"] + ["two"] * kafka_settings.partitions


def test_a_payload_too_large_to_travel_is_replaced_and_a_row_too_large_becomes_a_letter(
    database: psycopg.Connection, process: CaptureProcess, kafka_settings: KafkaSettings
) -> None:
    """The event arrives with hash and size of its payload; a 9 MB device leaves a dead letter; the next row goes on."""
    database.execute(
        "insert into engagement_events (event_ts, raw_payload) values (now(), to_jsonb(repeat('x', %s)))",
        (RAW_MAX_BYTES,),
    )
    database.execute("insert into engagement_events (event_ts, device) values (now(), repeat('y', 9000000))")
    database.execute("insert into engagement_events (event_ts) values (now())")
    records = sorted(_wait_for(kafka_settings, 2), key=lambda r: r.source.position)
    assert [r.after.id for r in records if r.after] == [1, 3]
    assert records[0].after is not None
    payload = b'"' + b"x" * RAW_MAX_BYTES + b'"'
    assert json.loads(records[0].after.raw_payload or "") == {
        "sha256": hashlib.sha256(payload).hexdigest(),
        "size": len(payload),
    }
    (dead,) = [
        message
        for partition in range(kafka_settings.partitions)
        for message in read_range(kafka_settings, kafka_settings.dlq_topic, partition, 0)
    ]
    headers = dict(dead.headers() or [])
    assert (headers["stage"], headers["reason"], headers["topic"]) == (b"capture", b"oversized", b"engagement_events")
    assert len(dead.value() or b"") > 7_000_000


def test_new_columns_pass_through_and_foreign_tables_do_not(
    database: psycopg.Connection, process: CaptureProcess, kafka_settings: KafkaSettings
) -> None:
    """ADD COLUMN shows in the envelope of the rows after it; other tables of the publication are passed over."""
    database.execute("create table other (id int primary key)")
    database.execute("alter publication engagement_publication add table other")
    database.execute("insert into other values (1)")
    database.execute("alter table engagement_events add extra numeric(30, 10)[] default '{1.5,NULL}', add flag boolean")
    database.execute("insert into engagement_events (event_ts, flag) values (now(), true)")
    _wait_for(kafka_settings, 1)
    (record,) = map(json.loads, raw_events_in_topic(kafka_settings))
    assert record["after"]["extra"] == "{1.5000000000,NULL}"
    assert record["after"]["flag"] is True

"""Rows of PostgreSQL stand in the raw topics, once, with their values."""

import psycopg

from engagement_stream.settings import KafkaSettings, PostgresSettings
from tests.fixtures.capture import capture, contents_in_topic, events_in_topic, first_images
from tests.fixtures.waiting import wait_until

CONTENT = "11111111-1111-4111-8111-111111111111"


def test_rows_before_and_after_the_start_arrive_once(
    postgres_settings: PostgresSettings, kafka_settings: KafkaSettings
) -> None:
    """History comes as op r, what follows as op c; content is there before both."""
    with psycopg.connect(postgres_settings.database_url.get_secret_value(), autocommit=True) as source:
        source.execute(
            "insert into content values (%s, 'a', 'Títle \"x\"', 'video', 100, '2025-01-01 00:00:00.5+02')", (CONTENT,)
        )
        source.execute(
            "insert into engagement_events (content_id, event_type, event_ts, duration_ms, raw_payload)"
            " select %s, 'play', now(), g, jsonb_build_object('g', g) from generate_series(1, 1000) g",
            (CONTENT,),
        )
        with capture(postgres_settings, kafka_settings) as process:
            process.wait_for_phase("streaming")
            report = process.status()
            assert report is not None
            assert report.details.get("copied_rows") is None  # the copy is over
            source.execute(
                "insert into engagement_events (content_id, event_type, event_ts, duration_ms)"
                " select %s, 'play', now(), g from generate_series(1001, 1500) g",
                (CONTENT,),
            )
            wait_until(
                lambda: len(first_images(events_in_topic(kafka_settings))) == 1500, 30, "every event is in the topic"
            )
            process.stop()
    images = first_images(events_in_topic(kafka_settings))
    assert all(len(records) == 1 for records in images.values())
    assert {r[0].op for i, r in images.items() if i <= 1000} == {"r"}
    assert {r[0].op for i, r in images.items() if i > 1000} == {"c"}
    assert images[5][0].after is not None
    assert images[5][0].after.raw_payload == '{"g": 5}'
    (content,) = contents_in_topic(kafka_settings)
    assert content.after is not None
    assert content.after.title == 'Títle "x"'
    assert content.after.publish_ts == "2024-12-31T22:00:00.5Z"

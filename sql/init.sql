-- The source schema of the mission, and what change capture needs beside it. Safe to run again.
CREATE TABLE IF NOT EXISTS content (
    id UUID PRIMARY KEY,
    slug TEXT UNIQUE NOT NULL,
    title TEXT NOT NULL,
    content_type TEXT CHECK (content_type IN ('podcast', 'newsletter', 'video')),
    length_seconds INTEGER,
    publish_ts TIMESTAMPTZ NOT NULL
);

CREATE TABLE IF NOT EXISTS engagement_events (
    id BIGSERIAL PRIMARY KEY,
    content_id UUID REFERENCES content (id),
    user_id UUID,
    event_type TEXT CHECK (event_type IN ('play', 'pause', 'finish', 'click')),
    event_ts TIMESTAMPTZ NOT NULL,
    duration_ms INTEGER,
    device TEXT,
    raw_payload JSONB
);

-- Backfill and rebuild read ranges of event time.
CREATE INDEX IF NOT EXISTS engagement_events_event_ts_idx ON engagement_events (event_ts);

-- FULL: an update or delete that reaches the stream before the first copy has read its row carries the
-- whole old row, so the event is still delivered; and unchanged TOASTed values can be filled in.
ALTER TABLE content REPLICA IDENTITY FULL;
ALTER TABLE engagement_events REPLICA IDENTITY FULL;

DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_publication WHERE pubname = 'engagement_publication') THEN
        CREATE PUBLICATION engagement_publication FOR TABLE content, engagement_events;
    END IF;
END
$$;

-- One row per day (UTC) and content, by the time the events happened. Content attributes are those of the event that was
-- committed last (a backfilled row has no commit_lsn).
SELECT
  DATE(event_ts) AS event_date,                                                        -- day in UTC
  content_id,                                                                          -- NULL: event without content
  MAX_BY(slug, COALESCE(commit_ts, event_ts)) AS slug,
  MAX_BY(title, COALESCE(commit_ts, event_ts)) AS title,
  MAX_BY(content_type, COALESCE(commit_ts, event_ts)) AS content_type,                                    -- podcast, newsletter, video
  COUNT(*) AS events,
  COUNTIF(event_type = 'play') AS plays,
  COUNTIF(event_type = 'pause') AS pauses,
  COUNTIF(event_type = 'finish') AS finishes,
  COUNTIF(event_type = 'click') AS clicks,
  COUNT(DISTINCT user_id) AS unique_users,                                             -- not additive over rows
  COALESCE(SUM(engagement_seconds), 0) AS engagement_seconds,                          -- seconds, events with a duration
  AVG(engagement_seconds) AS avg_engagement_seconds,
  AVG(engagement_pct) AS avg_engagement_pct,                                           -- percent of the content's length
  SAFE_DIVIDE(COUNTIF(event_type = 'finish'), COUNTIF(event_type = 'play')) AS completion_rate,  -- finishes per play
  MIN(event_ts) AS first_event_ts,
  MAX(event_ts) AS last_event_ts
FROM `{table}`
WHERE NOT _dlq
GROUP BY event_date, content_id

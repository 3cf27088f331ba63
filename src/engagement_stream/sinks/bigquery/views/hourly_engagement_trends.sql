-- One row per hour (UTC) and content type, by the time the events happened: how engagement rises and falls.
SELECT
  TIMESTAMP_TRUNC(event_ts, HOUR) AS hour_bucket,                                      -- begin of the hour, UTC
  content_type,                                                                        -- NULL: event without content
  COUNT(*) AS events,
  COUNTIF(event_type = 'play') AS plays,
  COUNTIF(event_type = 'pause') AS pauses,
  COUNTIF(event_type = 'finish') AS finishes,
  COUNTIF(event_type = 'click') AS clicks,
  COUNT(DISTINCT user_id) AS unique_users,                                             -- not additive over rows
  COUNT(DISTINCT content_id) AS unique_contents,
  COALESCE(SUM(engagement_seconds), 0) AS engagement_seconds,                          -- seconds, events with a duration
  AVG(engagement_seconds) AS avg_engagement_seconds,
  AVG(engagement_pct) AS avg_engagement_pct,                                           -- percent of the content's length
  SAFE_DIVIDE(COUNTIF(event_type = 'finish'), COUNTIF(event_type = 'play')) AS completion_rate   -- finishes per play
FROM `{table}`
WHERE NOT _dlq
GROUP BY hour_bucket, content_type

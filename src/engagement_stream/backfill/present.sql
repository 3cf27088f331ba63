-- Events of each day that the target has; sums as `plan.Sums` describes them. Two columns of these partitions are read.
SELECT
  FORMAT_TIMESTAMP('%F', event_ts) AS day,
  COUNT(*) AS event_count,
  SUM(MOD(event_id, 2147483647)) AS ids,
  SUM(MOD(MOD(event_id, 2147483647) * MOD(event_id, 2147483647), 2147483647)) AS squares,
  BIT_XOR(event_id) AS exclusive_or
FROM `{table}`
WHERE event_ts >= TIMESTAMP '{since}' AND event_ts < TIMESTAMP '{until}' AND NOT _dlq
GROUP BY day

-- The rows of the staging tables whose event the target lacks among those of their time. Constant bounds on event_ts:
-- only those daily partitions are read, and of them three columns.
INSERT INTO `{table}` ({columns})
SELECT {values}
FROM ({staged}) AS staged
LEFT JOIN (
  SELECT event_id
  FROM `{table}`
  WHERE event_ts >= TIMESTAMP '{since}' AND event_ts < TIMESTAMP '{until}' AND NOT _dlq
) AS present ON present.event_id = staged.event_id
WHERE present.event_id IS NULL

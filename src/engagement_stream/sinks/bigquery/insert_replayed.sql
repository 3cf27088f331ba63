-- Replayed dead letters: what the table does not have yet. A placeholder is no row of an event, and stays.
INSERT INTO `{table}` ({columns})
SELECT {values}
FROM `{staging}` AS s
WHERE (s.raw_payload IS NULL OR SAFE.PARSE_JSON(s.raw_payload, wide_number_mode => 'round') IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM `{table}` AS t WHERE t.event_id = s.event_id AND NOT t._dlq)

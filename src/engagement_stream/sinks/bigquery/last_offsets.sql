-- Greatest offset of each partition of a topic that is in the table.
SELECT _topic_partition, MAX(_offset) AS last_offset
FROM `{table}`
WHERE _topic = @topic AND _offset IS NOT NULL
GROUP BY _topic_partition

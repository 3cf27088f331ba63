-- name: export
-- The snapshot's own session: it lives as long as the snapshot is needed.
SELECT pg_export_snapshot() AS snapshot, current_setting('track_commit_timestamp') = 'on' AS commit_times,
       (now() AT TIME ZONE 'utc')::date AS today

-- name: days
-- Sums as `plan.Sums` describes them; the target forms the same ones.
SELECT (event_ts AT TIME ZONE 'utc')::date AS day, count(*) AS rows, sum(mod(id, 2147483647)) AS ids,
       sum(mod(mod(id, 2147483647) * mod(id, 2147483647), 2147483647)) AS squares, bit_xor(id) AS exclusive_or
  FROM engagement_events
 WHERE event_ts >= %(since)s AND event_ts < %(until)s
   AND (%(after_id)s::bigint IS NULL OR id > %(after_id)s)
 GROUP BY 1

-- name: row_bytes
-- About what a row takes, to tell a person how much will travel.
SELECT coalesce(pg_table_size(oid) / nullif(reltuples, 0), 0)::bigint AS row_bytes
  FROM pg_class
 WHERE oid = to_regclass('engagement_events') AND reltuples > 0

-- name: content
SELECT id::text, slug, title, publish_ts::text, content_type, length_seconds FROM content

-- name: read
-- {commit_ts} is pg_xact_commit_timestamp(xmin) where the server keeps it.
SELECT id::bigint AS event_id, content_id::text AS content_id, user_id::text AS user_id,
       event_type::text AS event_type, event_ts, duration_ms::bigint AS duration_ms, device::text AS device,
       raw_payload::text AS raw_payload, {commit_ts} AS commit_ts
  FROM engagement_events
 WHERE event_ts >= '{since}' AND event_ts < '{until}'

-- name: emit
-- Not part of a transaction; the commit of the second statement makes the server flush, and so stream, it.
SELECT pg_logical_emit_message(false, %(prefix)s, %(content)s) - '0/0'::pg_lsn AS lsn

-- name: commit_something
SELECT pg_current_xact_id()

-- name: lock
-- Ends with the session. One rebuild of one Redis at a time; who is frozen and loses it is kept out by Redis itself.
SELECT pg_try_advisory_lock(%(key)s) AS taken

-- name: server
SELECT current_setting('track_commit_timestamp') = 'on' AS commit_times

-- name: taken
-- Within the snapshot, before anything else is asked.
SELECT clock_timestamp() AS taken, pg_relation_filenode('engagement_events')::bigint AS filenode

-- name: emit_mark
-- Outside of any transaction of ours; the second part makes the server flush, and so stream, what lies before.
SELECT pg_logical_emit_message(false, %(prefix)s, %(mark)s), pg_current_xact_id()

-- name: contents
SELECT id::text, slug, title, content_type, length_seconds FROM content

-- name: chunk
-- The next piece of the table in the order of ids.
SELECT max(id), count(*)
  FROM (SELECT id FROM engagement_events WHERE id >= %(first)s ORDER BY id LIMIT %(rows)s) AS piece

-- name: events
-- What every figure is computed from: rows that every stage before Redis would have let through.
SELECT id, content_id, user_id, event_type, event_ts, duration_ms, device, {committed} AS committed
  FROM engagement_events AS e
 WHERE event_ts >= '0001-01-01 00:00:00+00' AND event_ts < '10000-01-01 00:00:00+00'
   AND (duration_ms IS NULL OR duration_ms BETWEEN -2147483648 AND 2147483647)
   {left_out}

-- name: left_out
AND NOT EXISTS (SELECT FROM unnest(%(left_out)s::bigint[]) AS letter (id) WHERE letter.id = e.id)

-- name: counters
SELECT content_id::text, count(*),
       count(*) FILTER (WHERE event_type = 'play'), count(*) FILTER (WHERE event_type = 'pause'),
       count(*) FILTER (WHERE event_type = 'finish'), count(*) FILTER (WHERE event_type = 'click'),
       coalesce(sum(duration_ms), 0), count(duration_ms),
       count(*) FILTER (WHERE event_ts > coalesce(committed, %(taken)s)),
       count(*) FILTER (WHERE committed IS NULL),
       (extract(epoch FROM max(coalesce(committed, least(event_ts, %(taken)s)))) * 1000000)::bigint
  FROM ({events} AND id BETWEEN %(first)s AND %(last)s) AS events
 WHERE content_id IS NOT NULL
 GROUP BY content_id

-- name: without_content
SELECT id, event_type, duration_ms, (event_ts > coalesce(committed, %(taken)s))::int, (committed IS NULL)::int,
       (extract(epoch FROM coalesce(committed, least(event_ts, %(taken)s))) * 1000000)::bigint
  FROM ({events} AND content_id IS NULL AND id BETWEEN %(first)s AND %(last)s) AS events

-- name: users
SELECT content_id::text, string_agg(user_id::text, E'\n')
  FROM (SELECT DISTINCT content_id, user_id
          FROM ({events} AND id BETWEEN %(first)s AND %(last)s) AS events
         WHERE content_id IS NOT NULL AND user_id IS NOT NULL) AS pairs
 GROUP BY content_id

-- name: recent
SELECT id, content_id::text, user_id::text, event_type, (extract(epoch FROM event_ts) * 1000000)::bigint, duration_ms,
       device, (extract(epoch FROM at) * 1000000)::bigint
  FROM (SELECT *, row_number() OVER (PARTITION BY content_id ORDER BY at DESC, id DESC) AS place
          FROM (SELECT *, least(event_ts, coalesce(committed, %(taken)s)) AS at
                  FROM ({events} AND id BETWEEN %(first)s AND %(last)s) AS events
                 WHERE content_id IS NOT NULL) AS dated) AS ranked
 WHERE place <= %(keep)s

-- name: window
-- By the index on event_ts where there is one: who is in by the clamped time is in by the unclamped one.
SELECT content_id::text, (floor(extract(epoch FROM at) / 10) * 10)::bigint, count(*), coalesce(sum(duration_ms), 0)
  FROM (SELECT content_id, duration_ms, least(event_ts, coalesce(committed, %(taken)s)) AS at
          FROM ({events} AND event_ts >= %(since)s) AS events
         WHERE content_id IS NOT NULL) AS dated
 WHERE at >= %(since)s
 GROUP BY 1, 2

-- name: totals
SELECT count(*),
       count(*) FILTER (WHERE event_type = 'play'), count(*) FILTER (WHERE event_type = 'pause'),
       count(*) FILTER (WHERE event_type = 'finish'), count(*) FILTER (WHERE event_type = 'click'),
       count(*) FILTER (WHERE event_type IS NULL OR event_type NOT IN ('play', 'pause', 'finish', 'click')),
       coalesce(sum(duration_ms), 0), count(duration_ms)
  FROM ({events}) AS events

-- name: left_out_rows
SELECT count(*) FROM engagement_events WHERE id = ANY(%(left_out)s::bigint[])

-- name: other_processes
SELECT count(*) FROM pg_stat_activity
 WHERE starts_with(application_name, %(prefix)s) AND application_name <> %(name)s

-- name: terminate_others
-- Sessions that a frozen or dying predecessor of this slot left behind; waits until each is gone.
SELECT pg_terminate_backend(pid, 5000)
  FROM pg_stat_activity
 WHERE pid <> pg_backend_pid() AND pid <> ALL (%(keep)s)
   AND (starts_with(application_name, %(prefix)s)
        OR pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name = %(slot)s))

-- name: server
-- What must be so before anything can be captured.
SELECT current_setting('server_version_num')::int AS version,
       current_setting('wal_level') AS wal_level,
       current_setting('server_encoding') AS encoding,
       current_user::text AS role,
       r.rolreplication OR r.rolsuper OR coalesce(pg_has_role(rds.oid, 'MEMBER'), false) AS replication,
       -- Amazon RDS and Aurora set the attribute for nobody; there a role that others lack stands for it.
       CASE WHEN rds.oid IS NULL THEN 'ALTER ROLE ' || quote_ident(current_user) || ' REPLICATION'
            ELSE 'GRANT rds_replication TO ' || quote_ident(current_user) END AS replication_remedy
  FROM pg_roles r LEFT JOIN pg_roles rds ON rds.rolname = 'rds_replication'
 WHERE r.rolname = current_user

-- name: tables
SELECT c.relname::text AS name, n.nspname::text AS schema, c.oid::bigint AS oid,
       c.relreplident::text AS identity, c.relkind::text AS kind,
       -- As the planner guesses: rows per page when they were last counted, and the pages there are now.
       CASE WHEN c.reltuples > 0 AND c.relpages > 0
            THEN c.reltuples / c.relpages * (pg_relation_size(c.oid) / current_setting('block_size')::int)
            ELSE pg_relation_size(c.oid) / 200 END::float8 AS estimate,
       has_table_privilege(c.oid, 'SELECT') AS readable
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid IN (to_regclass('content'), to_regclass('engagement_events'))

-- name: columns
SELECT a.attname::text AS name, a.atttypid::bigint AS type_oid
  FROM pg_attribute a
 WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY a.attnum

-- name: publication
SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AS complete,
       ARRAY(SELECT tablename::text FROM pg_publication_tables
              WHERE pubname = p.pubname AND schemaname = %(schema)s) AS tables
  FROM pg_publication p
 WHERE pubname = %(publication)s

-- name: slot
SELECT to_jsonb(s) - 'two_phase_at' AS slot, s.active_pid,
       s.confirmed_flush_lsn::text AS confirmed_flush, s.restart_lsn::text AS restart,
       pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint AS lag_bytes,
       s.database::text = current_database() AS here
  FROM pg_replication_slots s
 WHERE s.slot_name = %(slot)s

-- name: drop_slot
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %(slot)s

-- name: blockers
-- The transactions that the making of a slot waits for: the walsender asks for a lock on each in turn.
SELECT w.transactionid::text AS xid, p.gid, h.pid, a.application_name::text AS application,
       coalesce(a.xact_start, p.prepared)::text AS since
  FROM pg_locks w
  JOIN pg_locks h ON h.locktype = 'transactionid' AND h.transactionid = w.transactionid AND h.granted
  LEFT JOIN pg_prepared_xacts p ON p.transaction = w.transactionid
  LEFT JOIN pg_stat_activity a ON a.pid = h.pid
 WHERE w.pid = %(pid)s AND w.locktype = 'transactionid' AND NOT w.granted

-- name: filenodes
SELECT pg_relation_filenode('engagement_events')::bigint AS events, pg_relation_filenode('content')::bigint AS content

-- name: snapshot
-- In the session that imported the slot's snapshot: its own pg_current_snapshot() lists every unfinished
-- transaction, subtransactions included; another session's does not.
SELECT pg_current_snapshot()::text AS snapshot,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS taken_us,
       (SELECT max(id) FROM engagement_events) AS max_id

-- name: commit_something
-- A transaction of its own, for its commit record: the server then flushes, and so streams, all that was written before.
SELECT pg_current_xact_id()

-- name: emit_canary
-- Outside of any transaction: it takes no transaction id, writes no row, and needs no right that a reader has not.
SELECT pg_logical_emit_message(false, %(prefix)s, %(content)s)

-- name: now_visible
-- After this session's snapshot was taken: whatever it sees was committed before this LSN.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid, pg_current_wal_insert_lsn()::text AS wal_lsn

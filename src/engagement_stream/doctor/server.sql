-- What capture does not ask for, and a person wants to know.
SELECT current_setting('track_commit_timestamp') AS commit_timestamps,
       current_setting('max_replication_slots')::int AS slots_allowed,
       (SELECT count(*) FROM pg_replication_slots) AS slots_used,
       current_setting('max_wal_senders')::int AS senders_allowed,
       current_setting('server_version') AS release,
       extract(epoch FROM clock_timestamp())::float8 AS clock_s

"""PostgreSQL to Kafka, exactly once: the first copy and the live stream of one replication slot."""

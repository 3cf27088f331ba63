"""The embedded world: Kafka, PostgreSQL, Valkey and a BigQuery emulator out of packages; no Docker, Java or root."""

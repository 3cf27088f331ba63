"""PostgreSQL changes, enriched and delivered exactly once to Redis, BigQuery and an HTTP endpoint."""

__version__ = "0.1.0"

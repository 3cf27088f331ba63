"""The road: topics, consumers, exactly-once transactions and the dead-letter queue on Kafka."""

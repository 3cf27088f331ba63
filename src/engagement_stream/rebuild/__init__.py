"""All real-time state anew out of PostgreSQL, while the live stream goes on."""

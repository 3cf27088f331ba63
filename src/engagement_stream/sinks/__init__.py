"""Road to world: each sink carries the enriched events to one place, exactly once by its own protocol."""

"""Past days out of PostgreSQL, columnar, into where live events go: as often as one likes, each event exactly once."""

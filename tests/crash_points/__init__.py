"""Crash points held against the protocols: which call to the outside each of them stands beside."""

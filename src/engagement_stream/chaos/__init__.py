"""Breaks a pipeline of its own, under load, in every way a seed asks for; then the ledger looks at what is left."""

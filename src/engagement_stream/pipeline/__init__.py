"""Puts the stages together: builds each, runs it as a process, supervises them all."""

"""The dead-letter queue: what lies in it, what became of it, and sending it back to the stage it failed at."""

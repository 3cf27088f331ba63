"""The mission's commands, run as a user runs them."""

"""The goals of the project, each measured by a command of its own; every command keeps its raw data as JSON."""

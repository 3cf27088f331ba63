"""Carries events to an HTTP endpoint: frozen batches, sent again byte for byte until they are answered."""

from engagement_stream.sinks.http.sink import HttpSink

__all__ = ["HttpSink"]

"""Believable engagement traffic into the source database, at any rate: also the load tool."""

from engagement_stream.generate.modes import batch, continuous, historical
from engagement_stream.generate.report import Report

__all__ = ["Report", "batch", "continuous", "historical"]

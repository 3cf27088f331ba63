"""Shows the pipeline to people and to Prometheus: health, metrics, and what is hot right now."""

from engagement_stream.api.app import create_app
from engagement_stream.api.server import run, serve

__all__ = ["create_app", "run", "serve"]

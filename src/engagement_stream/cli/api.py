"""`engagement api`: the monitoring API as a process."""

from engagement_stream.observe.log import configure_logging
from engagement_stream.pipeline.process import end_with_the_supervisor
from engagement_stream.settings import Settings


def api() -> None:
    """Serve /health, /metrics, /top-content and /content/{id}/stats on API_PORT until SIGTERM."""
    from engagement_stream.api.server import run

    end_with_the_supervisor()
    settings = Settings.load()
    configure_logging(settings.stage, stage="api")
    run(settings)

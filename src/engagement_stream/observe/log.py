"""Structured logs: lower-case events with fields, JSON when not on a terminal, never a payload."""

import logging
import sys
from typing import cast

import structlog

from engagement_stream.settings import StageSettings

Log = structlog.stdlib.BoundLogger


def configure_logging(stage: StageSettings, /, **fields: str) -> None:
    """Set up the whole process once; `fields` (the stage's name) stand on every line."""
    console = stage.log_format == "console" or (stage.log_format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[stage.log_level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**fields)


def log() -> Log:
    """The process's logger."""
    return cast("Log", structlog.get_logger())

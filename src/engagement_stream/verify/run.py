"""One look at everything, from the very beginning."""

from datetime import datetime
from pathlib import Path

from engagement_stream.settings import Settings
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.reading import Tell
from engagement_stream.verify.report import Report
from engagement_stream.verify.round import Round
from engagement_stream.verify.state import State


def verify(settings: Settings, data_dir: Path, *, since: datetime | None = None, tell: Tell | None = None) -> Report:
    """Compare everything once. `since`: only events that happened then or later (Redis is always compared whole)."""
    with Ledger() as ledger:
        return Round(settings, data_dir, State(ledger), since=since, tell=tell).run()

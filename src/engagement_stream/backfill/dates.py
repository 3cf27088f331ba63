"""The range of days a person asks for: whole days in UTC, both ends included. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from engagement_stream.errors import ConfigurationError

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_ONE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DayRange:
    """`first` to `last`, both included."""

    first: date
    last: date

    @property
    def since(self) -> datetime:
        """The first moment of it."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def until(self) -> datetime:
        """The first moment after it."""
        return datetime.combine(self.last, time(), UTC) + _ONE

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def day_range(start: str, end: str, today: date) -> DayRange:
    """What `--start-date` and `--end-date` name; `today` is in UTC. Raises ConfigurationError with one sentence."""
    first, last = _day("--start-date", start), _day("--end-date", end)
    if last < first:
        raise ConfigurationError(f"--end-date {last} lies before --start-date {first}: exchange them.")
    for option, day in (("--start-date", first), ("--end-date", last)):
        if day > today:
            raise ConfigurationError(f"{option} {day} lies in the future: today is {today} in UTC.")
    return DayRange(first, last)


def _day(option: str, text: str) -> date:
    if _DAY.fullmatch(text.strip()):
        try:
            return date.fromisoformat(text.strip())
        except ValueError as error:
            raise ConfigurationError(f"{option} {text!r} is no day of the calendar: {error}.") from error
    raise ConfigurationError(f"{option} {text!r} is not a day: write it as YYYY-MM-DD, such as 2025-08-01.")

"""The command line: one file a verb."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from engagement_stream.errors import EngagementError, Fatal


def main(arguments: list[str] | None = None) -> None:
    """Run the `engagement` command."""
    from engagement_stream.cli.app import app

    with mendable_errors("engagement"):
        app(args=arguments)


@contextmanager
def mendable_errors(name: str) -> Iterator[None]:
    """An error a person can mend is one sentence, its remedy and exit code 2, never a trace."""
    try:
        yield
    except EngagementError as error:
        print(f"{name}: {error}", file=sys.stderr)
        if isinstance(error, Fatal):
            print(f"what to do: {error.remedy}", file=sys.stderr)
        sys.exit(2)

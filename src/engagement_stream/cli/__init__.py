"""The command line: one file a verb."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from engagement_stream.errors import EngagementError, Fatal


def main(arguments: list[str] | None = None) -> None:
    """Run the `engagement` command."""
    words = sys.argv[1:] if arguments is None else arguments
    with mendable_errors("engagement"):
        if words[:1] == ["stage"]:
            # Alone: what the other verbs import would stay in the memory of every stage, 17 MB of it.
            from engagement_stream.cli.stage import app as alone

            alone(args=words[1:], prog_name="engagement stage")
        else:
            from engagement_stream.cli.app import app

            app(args=words)


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

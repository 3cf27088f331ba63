"""The command line: one file a verb."""

import sys

from engagement_stream.errors import EngagementError, Fatal


def main(arguments: list[str] | None = None) -> None:
    """Run the `engagement` command; an error a person can mend is one sentence and exit code 2."""
    from engagement_stream.cli.app import app

    try:
        app(args=arguments)
    except EngagementError as error:
        print(f"engagement: {error}", file=sys.stderr)
        if isinstance(error, Fatal):
            print(f"what to do: {error.remedy}", file=sys.stderr)
        sys.exit(2)

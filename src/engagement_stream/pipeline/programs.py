"""Which processes a running pipeline has, and how each finds the others."""

import socket
from collections.abc import Mapping
from pathlib import Path

from engagement_stream.pipeline.build import enabled_stages
from engagement_stream.pipeline.supervisor import Program
from engagement_stream.settings import Settings

_OUR_SERVERS = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "BIGQUERY_REST_ENDPOINT")


def stage_programs(settings: Settings, logs: Path, environment: Mapping[str, str]) -> tuple[list[Program], str]:
    """The enabled stages, each with a status port of its own, and the STAGE_ENDPOINTS that names them."""
    programs, endpoints = [], []
    for name in enabled_stages(settings):
        port = free_port()
        endpoints.append(f"{name}=http://127.0.0.1:{port}")
        programs.append(
            Program(name, ["stage", name], {**environment, "STAGE_STATUS_PORT": str(port)}, logs / f"{name}.log")
        )
    return programs, ",".join(endpoints)


def api_program(logs: Path, environment: Mapping[str, str], endpoints: str) -> Program:
    """The monitoring API, told where the stages are."""
    return Program("api", ["api"], {**environment, "STAGE_ENDPOINTS": endpoints}, logs / "api.log")


def verify_program(
    settings: Settings, data_dir: Path, logs: Path, environment: Mapping[str, str]
) -> tuple[list[Program], str]:
    """The ledger's watch, and its place in STAGE_ENDPOINTS; only if asked for where a server is not our own.

    Its first round reads the whole table in one snapshot, the whole log and the whole BigQuery table.
    """
    ours = all(name in environment for name in _OUR_SERVERS)
    if not (ours if settings.verify.every_s is None else settings.verify.every_s):
        return [], ""
    port = free_port()
    arguments = ["verify", "--watch", "--data-dir", str(data_dir)]
    program = Program("verify", arguments, {**environment, "STAGE_STATUS_PORT": str(port)}, logs / "verify.log")
    return [program], f",verify=http://127.0.0.1:{port}"


def generator_program(logs: Path, environment: Mapping[str, str], rate_per_s: float) -> Program:
    """Continuous believable traffic."""
    return Program(
        "generator", ["generate", "continuous", "--rate", f"{rate_per_s:g}"], environment, logs / "generator.log"
    )


def free_port() -> int:
    """A port that is free now, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

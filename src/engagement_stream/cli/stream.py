"""`engagement stream`: capture, enrich, the enabled sinks and the API, against servers that are already there."""

import os
import signal
import threading
from pathlib import Path

from engagement_stream.cli.options import DEFAULT_DATA_DIR, DataDir
from engagement_stream.pipeline.build import enabled_stages
from engagement_stream.pipeline.lock import exclusive
from engagement_stream.pipeline.programs import api_program, stage_programs, verify_program
from engagement_stream.pipeline.supervisor import Supervisor
from engagement_stream.settings import Settings


def stream(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Run the pipeline against the servers of the environment, until Ctrl-C."""
    settings = Settings.load()
    with exclusive(data_dir, "stream"):
        logs = log_dir(data_dir)
        programs, endpoints = stage_programs(settings, logs, {})
        ledger, its_endpoint = verify_program(settings, data_dir, logs, {})
        if settings.http.url is None and "http" in settings.stage.sinks:
            print("http sink: not started, EXTERNAL_API_URL is empty")
        supervisor = Supervisor([*ledger, *programs, api_program(logs, {}, endpoints + its_endpoint)], print)
        supervisor.start()
        print(f"running: {', '.join(enabled_stages(settings))}; health at http://localhost:{settings.api.port}/health")
        print(f"logs in {logs}; Ctrl-C drains and stops")
        supervisor.watch(stop_signal())
        print("draining ...")
        supervisor.stop()


def stop_signal() -> threading.Event:
    """Set by Ctrl-C or SIGTERM; a second Ctrl-C ends at once."""
    stop = threading.Event()

    def request(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, request)
    signal.signal(signal.SIGTERM, request)
    return stop


def log_dir(data_dir: Path) -> Path:
    """Where the processes' logs go; made if missing."""
    logs = data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LOG_FORMAT", "json")
    return logs

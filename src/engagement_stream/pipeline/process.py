"""One stage as a process: signals, status server, and what happens at its end.

A stage that must not go on (Fatal) stays alive as `halted`, so that /health can show its remedy; restarting
it would only repeat the finding. Everything else that ends it is the supervisor's to restart.
"""

import ctypes
import os
import signal
import sys
import threading

from engagement_stream.errors import EngagementError, Fatal, Fenced
from engagement_stream.observe.log import configure_logging, log
from engagement_stream.observe.metrics import StageMetrics
from engagement_stream.observe.server import serve_status
from engagement_stream.observe.status import StageStatus
from engagement_stream.observe.tracing import configure_tracing, finish_tracing
from engagement_stream.pipeline.build import build_stage
from engagement_stream.pipeline.memory import collect_seldom, stay_small
from engagement_stream.settings import Settings

SUPERVISED = "ENGAGEMENT_SUPERVISED_BY"
"""Environment variable with the supervisor's pid."""
EXIT_FENCED = 75
"""Another process took over; the supervisor waits long before it starts us again (EX_TEMPFAIL)."""
_PR_SET_PDEATHSIG = 1


def run_stage(name: str, settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; returns the process's exit code."""
    end_with_the_supervisor()
    stay_small()
    configure_logging(settings.stage, stage=name)
    configure_tracing(settings.stage, name, settings.kafka.prefix)
    status = StageStatus(name, settings.stage.worker)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve_status(status, settings.stage.status_host, settings.stage.status_port)
    try:
        stage = build_stage(name, settings, status, StageMetrics(name))
        collect_seldom()
        stage.run(stop)
    except Fatal as error:
        status.halted(str(error), error.remedy)
        stop.wait()
    except Fenced as error:
        log().warning("another process took over, this one ends", reason=str(error))
        return EXIT_FENCED
    except EngagementError as error:
        log().error("stage ends, to be started again", reason=str(error))
        return 1
    except Exception:  # noqa: BLE001 - the last line of defence: logged, then the supervisor's
        log().exception("stage ended unexpectedly")
        return 1
    finally:
        finish_tracing()
    return 0


def end_with_the_supervisor() -> None:
    """Ask the kernel for a SIGTERM when the supervisor dies, however it dies (Linux)."""
    supervisor = os.environ.get(SUPERVISED)
    if supervisor is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(supervisor):  # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)

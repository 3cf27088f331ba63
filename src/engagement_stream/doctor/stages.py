"""The running pipeline, by its own /health: a stage that is not well says what mends it."""

import httpx

from engagement_stream.doctor.examination import Examination
from engagement_stream.settings import Settings

_TIMEOUT_S = 5.0


def check(settings: Settings) -> Examination:
    """Nothing that runs is no error: doctor is asked before the first start too."""
    of = Examination()
    host = "127.0.0.1" if settings.api.host == "0.0.0.0" else settings.api.host  # noqa: S104 - compared, not bound
    where = f"http://{host}:{settings.api.port}/health"
    try:
        answer = httpx.get(where, timeout=_TIMEOUT_S, trust_env=False)
        stages = answer.json()["stages"]
    except (httpx.HTTPError, OSError):
        of.note(f"no pipeline answers at {where}", "./start.sh   (or engagement stream)")
        return of
    except (ValueError, KeyError, TypeError):
        of.error(f"what answers at {where} is not the pipeline's API", "set API_PORT to a free port and start again")
        return of
    judge(of, stages)
    return of


def judge(of: Examination, stages: dict[str, dict[str, object]]) -> None:
    """Pure."""
    of.saw(", ".join(f"{name} {stage['state']}" for name, stage in stages.items()))
    for name, stage in stages.items():
        if not stage["healthy"]:
            of.error(
                f"{name} is {stage['state']}: {stage['reason'] or 'it gives no reason'}",
                str(stage["remedy"] or "what its reason names; the stage then goes on by itself"),
            )

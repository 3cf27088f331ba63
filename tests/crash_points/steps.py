"""The protocols' steps: every call to the outside, the crash points before and after it, and what it makes durable.

A person keeps these tables; tests hold them against the source, so that a new call without crash points fails.
"""

from typing import Final

from tests.crash_points import backfill, dlq, rebuild, sinks, stages

STEPS: Final = (*stages.STEPS, *sinks.STEPS, *rebuild.STEPS, *backfill.STEPS, *dlq.STEPS)

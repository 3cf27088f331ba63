"""Prometheus text of several processes, merged into one: one HELP and TYPE per family, one label per process."""

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from engagement_stream.api.models import StageState

PROCESS = "process"
"""Label with the name of the process that a sample came from."""


def parse(text: str) -> list[Metric]:
    """The families in an exposition; raises ValueError where it is not one."""
    try:
        return list(text_string_to_metric_families(text))
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"not a Prometheus exposition: {error}") from error


def merge(processes: Mapping[str, Sequence[Metric]]) -> list[Metric]:
    """Families by name, each sample labelled with its process.

    A sample that has such a label of its own keeps it as `exported_process`, as Prometheus does. A family that two
    processes declare with different types (a rolling upgrade) loses its type, not its samples.
    """
    merged: dict[str, Metric] = {}
    for process, families in processes.items():
        for family in families:
            into = merged.get(family.name)
            if into is None:
                into = merged[family.name] = Metric(family.name, family.documentation, family.type)
            elif into.type != family.type:
                into.type = "unknown"
            into.samples += [sample._replace(labels=_labels(sample.labels, process)) for sample in family.samples]
    return [merged[name] for name in sorted(merged)]


def stage_up(up: Mapping[str, bool]) -> Metric:
    """`engagement_stage_up{stage=...}`: 1 when its metrics could be read."""
    family = GaugeMetricFamily(
        "engagement_stage_up", "1: the stage's process answered the last scrape.", labels=["stage"]
    )
    for name, is_up in up.items():
        family.add_metric([name], float(is_up))
    return family


def stage_states(states: Mapping[str, StageState]) -> Metric:
    """`engagement_stage_state{stage=...,state=...}`: 1 for the state that /health shows, 0 for the others."""
    family = GaugeMetricFamily(
        "engagement_stage_state", "1: this is the state of the stage, as /health judges it.", labels=["stage", "state"]
    )
    for name, present in states.items():
        for state in get_args(StageState):
            family.add_metric([name, state], float(state == present))
    return family


def render(families: Iterable[Metric]) -> bytes:
    """The text format."""
    return generate_latest(_Families(families))


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _labels(labels: Mapping[str, str], process: str) -> dict[str, str]:
    named = {(f"exported_{PROCESS}" if key == PROCESS else key): value for key, value in labels.items()}
    return {**named, PROCESS: process}

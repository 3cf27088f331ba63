"""Merging the metrics of several processes, and the figures made of them."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client import Counter as PrometheusCounter

from engagement_stream.api.exposition import merge, parse, render, stage_up
from engagement_stream.api.figures import Figures, quantile
from engagement_stream.observe.latency import BatchHistogram


def exposition(stage: str, records: int, ages_s: tuple[float, ...] = ()) -> str:
    """What a stage process would say."""
    registry = CollectorRegistry()
    PrometheusCounter("engagement_records", "Durable.", ["stage"], registry=registry).labels(stage).inc(records)
    dead = PrometheusCounter("engagement_dead_letters", "Refused.", ["stage", "reason"], registry=registry)
    dead.labels(stage, 'a "quoted" reason\nover two lines').inc(2)
    Gauge("engagement_slot_lag_bytes", "Held back.", registry=registry).set(records)
    latency = BatchHistogram("engagement_commit_to_durable_seconds", "Age.", registry)
    latency.observe(stage, 10_000_000, [10_000_000 - int(age_s * 1e6) for age_s in ages_s])
    return generate_latest(registry).decode()


def test_every_family_is_declared_once_and_no_series_twice() -> None:
    """The same stage in two processes and metrics without any label do not collide."""
    text = render(merge({f"enrich-{n}": parse(exposition("enrich", n)) for n in range(3)})).decode()
    lines = text.splitlines()
    assert max(Counter(line for line in lines if line.startswith("# TYPE")).values()) == 1
    assert max(Counter(line.split()[2] for line in lines if line.startswith("# HELP")).values()) == 1
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert 'engagement_records_total{process="enrich-2",stage="enrich"} 2.0' in lines
    assert 'engagement_slot_lag_bytes{process="enrich-1"} 1.0' in lines


def test_what_is_merged_can_be_parsed_and_merged_again() -> None:
    """Values, quotes and line ends come through; a process label from below is kept under another name."""
    once = merge({"redis": parse(exposition("redis", 7, (0.003, 2.5)))})
    again = merge({"outer": parse(render(once).decode())})
    figures = Figures(again)
    assert figures.total("engagement_records") == 7
    assert figures.total_by("engagement_dead_letters", "reason") == {'a "quoted" reason\nover two lines': 2}
    assert {s.labels["exported_process"] for family in again for s in family.samples} == {"redis"}


def test_a_family_of_two_types_loses_its_type_and_no_sample() -> None:
    """During a rolling upgrade two versions run side by side."""
    old = "# HELP engagement_x X.\n# TYPE engagement_x gauge\nengagement_x 1\n"
    new = "# HELP engagement_x_total X.\n# TYPE engagement_x_total counter\nengagement_x_total 2\n"
    text = render(merge({"old": parse(old), "new": parse(new)})).decode()
    assert "# TYPE engagement_x untyped" in text
    assert 'engagement_x{process="old"} 1.0' in text
    assert 'engagement_x_total{process="new"} 2.0' in text


def test_what_is_no_exposition_is_refused_with_one_kind_of_error() -> None:
    """Another server may have taken the port."""
    with pytest.raises(ValueError, match="not a Prometheus exposition"):
        parse("<html>hello</html>")


def test_stages_that_answer_are_one_and_the_others_zero() -> None:
    """The series alerting is built on."""
    lines = render([stage_up({"capture": True, "http": False})]).decode().splitlines()
    assert 'engagement_stage_up{stage="capture"} 1.0' in lines
    assert 'engagement_stage_up{stage="http"} 0.0' in lines


def test_figures_without_samples_are_unknown_not_zero() -> None:
    """A process that says nothing about CPU does not use none."""
    figures = Figures([])
    assert figures.total("engagement_records") is None
    assert figures.latency() is None
    assert figures.process(0.0).cpu_seconds is None


def test_latency_is_estimated_from_the_buckets() -> None:
    """A hundred ages between 0 and 1 s: the estimates lie in the right buckets."""
    figures = Figures(parse(exposition("redis", 1, tuple(n / 100 for n in range(100)))))
    latency = figures.latency()
    assert latency is not None
    assert latency.count == 100
    assert latency.mean_s == pytest.approx(0.495)
    assert latency.p50_s == pytest.approx(0.5, abs=0.02)
    assert latency.p99_s == pytest.approx(0.99, abs=0.02)


def test_metrics_without_a_field_of_their_own_are_not_lost() -> None:
    """A stage's specialities show up under their name."""
    assert Figures(parse(exposition("capture", 5))).others() == {"slot_lag_bytes": 5.0}


@given(st.lists(st.floats(0, 5000), min_size=1), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_value(values: list[float], q: float) -> None:
    """Interpolation may err within a bucket, never beyond it."""
    edges = [0.1, 1.0, 10.0, 100.0, 1000.0]
    cumulative = {edge: float(sum(value <= edge for value in values)) for edge in [*edges, math.inf]}
    true = sorted(values)[max(math.ceil(q * len(values)) - 1, 0)]
    estimate = quantile(cumulative, q)
    below = max([0.0, *[edge for edge in edges if edge < true]])
    above = min([edge for edge in edges if edge >= true], default=edges[-1])
    assert below <= estimate <= above

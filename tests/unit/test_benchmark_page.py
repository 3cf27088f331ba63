"""The page of benchmarks: it says what was measured, what was not, and whether a goal is met."""

from typing import Any

import pytest

from benchmarks.goals.page import page
from benchmarks.goals.record import Record, keep, read
from benchmarks.goals.sustained import slope
from benchmarks.goals.verdicts import NOT_YET, verdicts


def record(part: str, result: Any) -> Record:
    """As `keep` would write it."""
    return Record(part, "2026-01-02", "2 cores", {"Python": "3.11"}, f"python -m benchmarks goals {part}", result)


def idle(ours: float) -> Record:
    """Everything at rest, using this part of a core."""
    return record("idle", {"seconds": 60.0, "ours": ours, "servers": {"kafka": 0.04}, "rss_mb": 700.0})


def sustained(growth_per_s: float) -> Record:
    """Twenty thousand events a second, with BigQuery's lag growing by so many a second."""
    samples = [{"at_s": 1.0, "rows": 20_000, "lag": {"redis": 10, "bigquery": 20, "http": 30}}]
    result = {
        "rate_per_s": 20_000.0,
        "written_per_s": 19_990.0,
        "events": 6_000_000,
        "samples": samples,
        "growth_per_s": {"redis": 0.0, "bigquery": growth_per_s},
        "drained_after_s": 1.5,
        "cpu_us_per_event": {"redis": 5.0, "kafka": 13.0},
        "cores": 1.9,
        "rss_mb": {"redis": 140.0, "bigquery": 199.0},
        "ledger": {"events": 6_000_000, "missing": 0},
    }
    return record("sustained", result)


def test_without_any_measurement_every_goal_says_so() -> None:
    """No goal disappears because nobody measured it."""
    found = verdicts({})
    assert len(found) == 10
    assert {verdict.measured for verdict in found} == {NOT_YET}


@pytest.mark.parametrize(("ours", "word"), [(0.049, "met"), (0.051, "**not met**")])
def test_a_goal_is_met_up_to_its_figure(ours: float, word: str) -> None:
    """Five per cent of a core is asked."""
    (row,) = [line for line in page({"idle": idle(ours)}, set()).splitlines() if "idle |" in line and "%" in line]
    assert row.endswith(f"| {word} |")


@pytest.mark.parametrize(("growth", "met"), [(150.0, True), (250.0, False)])
def test_lag_that_grows_with_the_traffic_is_not_sustained(growth: float, met: bool) -> None:
    """More than a hundredth of the traffic left behind each second would be noticed in a longer run."""
    whole = next(verdict for verdict in verdicts({"sustained": sustained(growth)}) if "whole chain" in verdict.goal)
    assert whole.met is met


def test_the_page_tells_date_machine_versions_and_how_to_repeat() -> None:
    """Whoever reads a figure can make it again."""
    text = page({"sustained": sustained(0.0)}, {"sustained"})
    for wanted in ("2026-01-02", "2 cores", "Python 3.11", "`python -m benchmarks goals sustained`", "sustained.svg"):
        assert wanted in text


def test_more_workers_are_told_as_cores_on_paper() -> None:
    """Three workers at 8 us an event do three times 125,000; capture stays one."""

    def step(us: float) -> dict[str, Any]:
        return {"events": 1, "cpu_us_per_event": {"capture": us, "enrich": us}, "rss_mb": {"capture": 90, "enrich": 99}}

    text = page({"workers": record("workers", {"workers": 3, "one": step(7.5), "several": step(8.0)})}, set())
    assert "| enrich | 7.5 | 8.0 | 1.07x | 99 | 375,000 |" in text
    assert "| capture | 7.5 | 8.0 | 1.07x | 90 | 125,000 |" in text


def growth(last_us: float, reference_us: float) -> Record:
    """From one to ten million events; of three runs with many contents one was on a busy machine."""

    def step(us: float, reference: float = 1.0, mb: float = 100.0) -> dict[str, Any]:
        return {"events": 9, "cpu_us_per_event": {"enrich": us}, "rss_mb": {"enrich": mb}, "reference_us": reference}

    contents = [
        {"contents": 100, "steps": [step(5.0)] * 3},
        {"contents": 100_000, "steps": [step(6.0, mb=130.0), step(6.0, mb=135.0), step(9.0, mb=190.0)]},
    ]
    events = {"contents": 1_000, "steps": [step(5.0), step(last_us, reference_us)]}
    return record("growth", {"events": events, "contents": contents})


@pytest.mark.parametrize(("last_us", "reference_us", "met"), [(5.4, 1.0, True), (6.0, 1.0, False), (6.0, 1.2, True)])
def test_growth_is_told_in_reference_loops_and_medians(last_us: float, reference_us: float, met: bool) -> None:
    """A machine that became slower for everybody is no growth; one run out of three decides nothing."""
    found = next(v for v in verdicts({"growth": growth(last_us, reference_us)}) if "more events" in v.goal)
    assert found.met is met
    assert "1.20x, at most +35 MB" in found.measured
    assert "| 100,000 contents | 6.0, 135 | 1.00 |" in page({"growth": growth(5.0, 1.0)}, set())


def test_a_slope_is_growth_per_second() -> None:
    """Noise around a straight line does not hide it."""
    assert slope([(0.0, 1), (1.0, 9), (2.0, 21), (3.0, 29)]) == pytest.approx(9.67, abs=0.01)
    hiccup = [(float(x), 1_000 if x == 9 else 2 * x) for x in range(10)]
    assert slope(hiccup) == pytest.approx(2.0)
    assert slope([(1.0, 5)]) == 0.0


def test_what_is_kept_reads_back_and_names_no_place(tmp_path: Any) -> None:
    """What was not measured (NaN) is null, and no directory of this machine is in the file."""
    file = keep("idle", "python -m benchmarks goals idle", {"ours": float("nan")}, {"Valkey": "9"}, home=tmp_path)
    found = read("idle", tmp_path)
    assert found is not None
    assert found.result == {"ours": None}
    assert found.versions["Valkey"] == "9"
    assert str(tmp_path) not in file.read_text()

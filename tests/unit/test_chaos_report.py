"""The report says what happened, the verdict what it means; nothing of the machine's own gets in."""

import re

from engagement_stream.chaos.plan import Fault, plan
from engagement_stream.chaos.report import markdown, summary
from engagement_stream.chaos.result import Result, Struck, by_kind, together
from engagement_stream.chaos.versions import versions
from engagement_stream.verify.report import Finding, Place, Report

_PLAN = plan(4, 600.0, "standard", frozenset({f"{s}.step" for s in ("capture", "enrich", "redis", "bigquery", "http")}))


def _kill(target: str, began_s: float, recovered_s: float | None, **more: str) -> Struck:
    return Struck(Fault(began_s, "kill", target), began_s, began_s + 0.5, recovered_s, **more)


def _result(
    *struck: Struck, wrong: tuple[str, ...] = (), places: tuple[Place, ...] = (), findings: tuple[Finding, ...] = ()
) -> Result:
    ledger = Report([Place("postgresql", rows=1_234), *places], list(findings), [], [], 1.0)
    return Result(_PLAN, 200.0, struck, {"http": 3}, 1_234, 700.0, ledger, wrong, (), {"python": "3.11"})


def test_all_right_is_exit_code_0() -> None:
    """Every fault recovered, every event everywhere once."""
    result = _result(_kill("http", 1.0, 2.0))
    assert result.exit_code == 0
    assert "everything is right" in markdown(result)
    assert "0 missing, 0 doubled, 0 wrong, 0 order breaks, 0 still on their way." in "\n".join(summary(result))


def test_whatever_is_wrong_is_exit_code_1() -> None:
    """A missing row, one that never came, a stage that stayed down, a sentence of its own: each is enough."""
    assert _result(places=(Place("bigquery", missing=1),)).exit_code == 1
    assert _result(places=(Place("redis", in_flight=1),)).exit_code == 1
    assert _result(places=(Place("receiver", order_breaks=1),)).exit_code == 1
    assert _result(_kill("http", 1.0, None)).exit_code == 1
    assert _result(wrong=("a zombie went on",)).exit_code == 1


def test_what_was_found_is_shown() -> None:
    """With its example, and loud."""
    text = markdown(
        _result(
            _kill("http", 1.0, None),
            places=(Place("receiver", doubled=1, order_breaks=2),),
            findings=(Finding("receiver", "doubled", "77", "2 times"), Finding("receiver", "order_breaks", "78")),
        )
    )
    assert "NOT right" in text
    assert "1 doubled, 0 wrong, 2 order breaks" in text
    assert "**doubled** in receiver: 77 2 times" in text
    assert "**order breaks** in receiver: 78" in text
    assert "Never recovered: kill http" in text


def test_recoveries_are_ranked_by_kind() -> None:
    """Nearest rank: a figure that was really measured."""
    (figure,) = by_kind([_kill("http", float(n), float(n)) for n in range(1, 21)])
    assert (figure.quantile_s(0.5), figure.quantile_s(0.95), figure.quantile_s(1.0)) == (10.0, 19.0, 20.0)
    assert figure.targets == {"http": 20}


def test_a_skipped_fault_counts_nowhere() -> None:
    """It is in the timeline, with its reason, and in no figure."""
    result = _result(_kill("http", 1.0, 2.0), _kill("redis", 2.0, None, skipped="it was not there"))
    assert result.exit_code == 0
    assert "1 faults of 1 kinds" in summary(result)[0]
    assert "skipped: it was not there" in markdown(result)


def test_faults_that_met_at_a_stage_are_told() -> None:
    """Two sinks do not meet; an outage of enrich and one of a sink behind it do."""
    apart = [_kill("http", 1.0, 5.0), _kill("redis", 2.0, 5.0)]
    assert together(apart) == set()
    assert together([*apart, _kill("enrich", 3.0, 1.0)]) == {0, 1, 2}


def test_tables_are_well_formed_and_no_path_is_named() -> None:
    """Every row has as many cells as its header; the repeat command is whole."""
    struck = [_kill("http", 1.0, 2.0, note="a | pipe"), _kill("redis", 2.0, None)]
    result = Result(_PLAN, 200.0, struck, {"http": 3}, 5, 7.0, _result().ledger, (), (), versions())
    text = markdown(result)
    columns = 0
    for line in text.splitlines():
        cells = line.count("|") if line.startswith("|") else 0
        assert cells in {0, columns} or columns == 0, line
        columns = cells
    assert "engagement chaos --seed 4 --duration 10m --rate 200" in text
    assert not re.search(r"/(root|home|tmp|work|usr)/", text)

"""The alert rules: right by promtool, each shown to fire and not to fire, each with its page in the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.tools import tool

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "prometheus"
TESTS = sorted(path.name for path in (DEPLOY / "tests").glob("*.yml"))
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((DEPLOY / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
FROM_ELSEWHERE = {
    "up": "made by Prometheus itself, one for each target",
    "process_start_time_seconds": "the client library's own",
    "engagement_verify_": "of a continuous ledger; absent where none runs",
    "engagement_dlq_": "of the dead-letter queue; absent before the first letter",
}
"""Metrics in the rules that docs/reference/metrics.md need not list, and why."""


def _promtool(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    argv = [tool("promtool", "prometheus"), *arguments]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_rules_and_configuration_are_right() -> None:
    """As Prometheus would read them."""
    done = _promtool("check", "config", "prometheus.yml", cwd=DEPLOY)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    """The cases of deploy/prometheus/tests."""
    done = _promtool("test", "rules", *TESTS, cwd=DEPLOY / "tests")
    assert done.returncode == 0, done.stdout + done.stderr


def _disagreements(folder: Path) -> list[tuple[set[str], set[str]]]:
    """Of each case that fails: the alerts that were to fire, and those that did, with their labels."""
    done = _promtool("test", "rules", *TESTS, cwd=folder / "tests")
    assert done.returncode == 1
    blocks = re.findall(r"^ +exp: (.*)\n +got: (.*)$", done.stdout + done.stderr, re.MULTILINE)
    sample = re.compile(r"{[^}]*}")
    return [(set(sample.findall(expected)), set(sample.findall(got))) for expected, got in blocks]


@pytest.mark.parametrize("defect", ["never", "always"])
def test_the_cases_would_notice_an_alert_that_never_or_always_fires(defect: str, tmp_path: Path) -> None:
    """So each alert has a case in which it fires, and one in which it could and does not."""
    shutil.copytree(DEPLOY, tmp_path / "prometheus")
    path = tmp_path / "prometheus" / "rules" / "alerts.yml"
    rules = yaml.safe_load(path.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if defect == "never":
            rule["expr"] = "vector(0) > 1"
        else:
            # The comparisons, not the matchers of labels, which have their value in quotes.
            rule["expr"] = re.sub(r"(?:==|>)(\s*)[\d.]+(?:\s*\*\s*[\d.]+)*", r">=\g<1>0", rule["expr"])
            rule.pop("for", None)
    path.write_text(yaml.safe_dump(rules))
    noticed: set[str] = set()
    for expected, got in _disagreements(tmp_path / "prometheus"):
        noticed |= expected - got if defect == "never" else got - expected
    assert set(re.findall(r'alertname="(\w+)"', " ".join(noticed))) == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_is_wrong_and_where_its_page_is(alert: str) -> None:
    """A sentence, a severity, and a section of the runbook that exists."""
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == alert.lower()
    assert f"\n## {alert}\n" in (ROOT / page).read_text()


def test_the_runbook_has_no_page_without_an_alert() -> None:
    """A renamed alert takes its page along."""
    pages = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert sorted(pages) == sorted(ALERTS)


def test_rules_ask_for_metrics_that_exist() -> None:
    """Each is in docs/reference/metrics.md, recorded by a rule, or from elsewhere for a reason."""
    listed = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "reference" / "metrics.md").read_text(), re.MULTILINE))
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    for rule in RULES:
        expr = re.sub(r'"[^"]*"', '""', rule["expr"])
        for name in re.findall(r"\b(?:engagement[a-z0-9_:]+|up|process_\w+)\b", expr):
            known = name in recorded or name.removesuffix("_bucket") in listed
            assert known or any(name.startswith(other) for other in FROM_ELSEWHERE), f"{name} in {rule}"


def test_the_way_of_an_alert_to_a_person_is_right() -> None:
    """As Alertmanager would read it: a webhook for all, e-mail for what is critical."""
    path = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
    argv = [tool("amtool", "prometheus-alertmanager"), "check-config", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    for severity, receivers in (("critical", "email,webhook"), ("warning", "webhook")):
        argv = [argv[0], "config", "routes", "test", f"--config.file={path}", f"severity={severity}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == receivers

"""docs/reference/metrics.md is what the code registers, in names as Prometheus' conventions want them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text()
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")]


def test_the_table_is_made_from_what_is_registered() -> None:
    """`engagement reference metrics > docs/reference/metrics.md` when this fails."""
    argv = [sys.executable, "-m", "engagement_stream.cli", "reference", "metrics"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_a_metric_is_named_as_the_conventions_want_it(row: list[str]) -> None:
    """One prefix, lower case, base units, `_total` for counters and for nothing else; and it says what it means."""
    name, kind, labels, _unit, filled_by, meaning = row
    name = name.strip("`")
    assert re.fullmatch(r"engagement(_[a-z0-9]+)+", name)
    assert (kind == "counter") == name.endswith("_total")
    assert kind in {"counter", "gauge", "histogram"}
    assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent|count|info)(_|$)", name)
    assert all(re.fullmatch(r"`[a-z]+`", label) for label in labels.split())
    assert filled_by
    assert meaning.endswith(".")

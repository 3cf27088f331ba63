"""The pages of docs/reference that are made from settings, commands and endpoints are what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest

from engagement_stream.cli.commands_table import commands
from engagement_stream.cli.endpoints_table import endpoints_page, openapi, operations
from engagement_stream.cli.settings_table import settings_page
from engagement_stream.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["settings", "cli", "api"])
def test_a_page_is_made_from_the_code(page: str) -> None:
    """`scripts/pages.sh` when this fails."""
    argv = [sys.executable, "-m", "engagement_stream.cli", "reference", page]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "reference" / f"{page}.md").read_text()


def test_every_setting_is_in_the_table_with_its_meaning() -> None:
    """None is forgotten, none is left unexplained."""
    rows = {line.split("`")[1]: line for line in settings_page().splitlines() if line.startswith("| `")}
    fields = [field for room in Settings.ROOMS for field in room.model_fields.values()]
    assert len(rows) == len(fields)
    for field in fields:
        assert field.description is not None
        assert rows[str(field.validation_alias)].endswith(f"| {field.description.replace('|', chr(92) + '|')} |")


def test_limits_choices_and_secrets_are_told() -> None:
    """A person sees what would be refused, before it is."""
    page = settings_page()
    assert "| `KAFKA_PARTITIONS` | `4` | whole number, at least 1, at most 1024 |" in page
    assert "| `PROCESSING_INTERVAL_SECONDS` | `1.0` | number, more than 0, at most 3600 |" in page
    assert "| `CAPTURE_SNAPSHOT` | `initial` | `initial`, `never` |" in page
    assert "| `API_TOKEN` |  | secret |" in page
    assert "| `EXTERNAL_API_URL` |  | URL, secret |" in page


def test_every_command_and_option_explains_itself() -> None:
    """A row without a meaning helps nobody."""
    for name, command in commands():
        assert command.help, name
        for param in command.params:
            assert getattr(param, "help", None), f"{name} {param.opts}"


def test_every_endpoint_explains_itself_and_what_is_guarded_is_marked() -> None:
    """Writing, and reading payloads, needs a token."""
    page = endpoints_page()
    for path, method, operation in operations(openapi()):
        assert operation.get("description"), path
        section = page.split(f"### {method} `{path}`\n")[1].split("\n### ")[0]
        assert ("*Guarded.*" in section) == (method == "POST" or path == "/dlq/{letter_id}"), path

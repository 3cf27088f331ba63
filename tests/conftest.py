"""Fixtures by theme; no setting of the developer's own reaches a test."""

import os
from collections.abc import Iterator

import pytest

from engagement_stream.settings import Settings

pytest_plugins = ["tests.fixtures.stack", "tests.fixtures.http"]
pytest.register_assert_rewrite("tests.contract.sink_contract")


def _scrub() -> None:
    """Drop our variables from the environment, and the `.env` of the working directory with them."""
    for room in Settings.ROOMS:
        room.model_config["env_file"] = None
        for field in room.model_fields.values():
            os.environ.pop(str(field.validation_alias), None)
    for name in [name for name in os.environ if name.startswith("ENGAGEMENT_") and name != "ENGAGEMENT_CACHE_DIR"]:
        os.environ.pop(name)


_scrub()


@pytest.fixture(autouse=True)
def _untouched_environment() -> Iterator[None]:
    """What a test does to the environment ends with it."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a server, by the fixtures they ask for."""
    from tests.fixtures.stack import STACK_FIXTURES  # at the top it would come before pytest can rewrite its asserts

    for item in items:
        if STACK_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.needs_stack)

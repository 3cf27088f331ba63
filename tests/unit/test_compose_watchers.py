"""Prometheus, Grafana and Alertmanager in docker-compose.yml: every path, address and variable leads somewhere."""

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from engagement_stream.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WATCHERS = ("prometheus", "grafana", "alertmanager")
OF_COMPOSE_ALONE = {"GRAFANA_ADMIN_PASSWORD": "a setting of Grafana's, with a default"}


def _here(service: str, inside: str) -> Path:
    """The file or folder of the checkout that stands at `inside` in the container."""
    for volume in SERVICES[service]["volumes"]:
        source, target, *_ = volume.split(":")
        if source.startswith("./") and PurePosixPath(inside).is_relative_to(target):
            return ROOT / str(source) / PurePosixPath(inside).relative_to(target)
    raise AssertionError(f"{inside} is mounted from nowhere")


def _serves(address: str) -> bool:
    """Whether `service:port` is a service that listens there, by what it publishes."""
    name, port = address.removeprefix("http://").split(":")
    return any(str(published).endswith(f":{port}") for published in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", WATCHERS)
def test_who_looks_on_may_do_nothing_else(name: str) -> None:
    """Not root, read-only, without capabilities, from a pinned image, and able to say that it is well."""
    service = SERVICES[name]
    assert not service["user"].startswith("0")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
    port = re.search(r"127\.0\.0\.1:(\d+)/", service["healthcheck"]["test"][-1])
    assert port is not None
    assert _serves(f"{name}:{port[1]}")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_image_is_whatever_is_newest(name: str) -> None:
    """An update is a change that somebody makes."""
    assert "build" in SERVICES[name] or ":" in SERVICES[name].get("image", "")
    assert not SERVICES[name].get("image", "").endswith(":latest")


def test_prometheus_finds_its_files_and_what_it_scrapes() -> None:
    """The configuration is mounted, with the rules beside it; targets are services at ports they listen on."""
    (option,) = (o for o in SERVICES["prometheus"]["command"] if o.startswith("--config.file="))
    path = _here("prometheus", option.split("=")[1])
    config = yaml.safe_load(path.read_text())
    assert all(list(path.parent.glob(pattern)) for pattern in config["rule_files"])
    groups = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    targets = [target for group in groups for static in group["static_configs"] for target in static["targets"]]
    assert targets == ["stream-processor:8080", "alertmanager:9093"]
    assert all(map(_serves, targets))


def test_grafana_finds_its_dashboards_and_its_source() -> None:
    """What is provisioned is mounted, and the source's address is Prometheus'."""
    provisioning = _here("grafana", "/etc/grafana/provisioning")
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert _serves(source["url"])
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "engagement.yml").read_text())["providers"]
    boards = list(_here("grafana", provider["options"]["path"]).glob("*.json"))
    assert {json.loads(board.read_text())["uid"] for board in boards} == {"engagement-overview", "engagement-stages"}
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert _here("grafana", home).is_file()


def test_alertmanager_finds_its_file_and_is_asked_for() -> None:
    """It tells nobody before a person has named somebody, so it does not start by itself."""
    (option,) = (o for o in SERVICES["alertmanager"]["command"] if o.startswith("--config.file="))
    assert _here("alertmanager", option.split("=")[1]).is_file()
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["alertmanager"]


def test_every_variable_in_the_file_is_a_setting() -> None:
    """Or one of the few that only this file knows."""
    known = {str(field.validation_alias) for room in Settings.ROOMS for field in room.model_fields.values()}
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert used <= known | set(OF_COMPOSE_ALONE)

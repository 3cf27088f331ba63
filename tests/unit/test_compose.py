"""docker-compose.yml and the images: everything they name exists, and a fresh clone comes up by itself.

No container engine is needed: the files are held against the code they stand for.
"""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from standardwebhooks import Webhook

from engagement_stream.pipeline.build import STAGES, enabled_stages
from engagement_stream.pipeline.supervisor import Supervisor
from engagement_stream.settings import Settings
from engagement_stream.stack.download import KAFKA_VERSION
from engagement_stream.stack.ports import WANTED

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
VARIABLES = {str(field.validation_alias) for room in Settings.ROOMS for field in room.model_fields.values()}
NOT_FROM_DOTENV = {
    "DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "API_HOST",  # other addresses inside the network
    "KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "KAFKA_SSL_CA",
    "KAFKA_REPLICATION_FACTOR",  # the broker here is alone and talks plainly
    "STAGE_STATUS_HOST", "STAGE_STATUS_PORT", "STAGE_ENDPOINTS", "STAGE_WORKER",  # set by the supervisor
}  # fmt: skip


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(INSTRUCTION, argument) of every line, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def command_of(name: str) -> list[str]:
    """What the service runs: its own command, or its image's."""
    service = SERVICES[name]
    if "command" in service:
        return list(service["command"])
    given = dict(instructions(ROOT / service["build"]["dockerfile"]))["CMD"]
    return list(json.loads(given))


def interpolated(value: object, given: Mapping[str, str]) -> str:
    """`value` as Compose reads it when `given` is what .env holds."""

    def replace(match: re.Match[str]) -> str:
        name, operator, default = match.groups()
        if operator == ":-":
            return given.get(name) or default
        return given.get(name, default)

    return re.sub(r"\$\{(\w+)(:?-)([^}]*)\}", replace, str(value))


def environment_of(name: str, given: Mapping[str, str] = {}) -> dict[str, str]:
    """Variables the container of a service gets; a name without a value is handed on where .env has it."""
    found = {}
    for variable, value in SERVICES[name].get("environment", {}).items():
        if value is not None:
            found[variable] = interpolated(value, given)
        elif variable in given:
            found[variable] = given[variable]
    return found


def test_the_file_is_what_the_compose_specification_allows() -> None:
    """Every key is known and has a value of its kind."""
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_and_containers_have_the_names_that_were_asked_for() -> None:
    """Commands people have written down (`docker logs stream_processor`) work."""
    assert {"stream-processor", "data-generator", "kafka", "redis", "postgres"} <= set(SERVICES)
    assert SERVICES["stream-processor"]["container_name"] == "stream_processor"
    assert SERVICES["data-generator"]["container_name"] == "data_generator"


def test_the_ports_are_the_usual_ones_and_open_to_this_machine_only() -> None:
    """The passwords are well known, so nobody else on the network may connect."""
    published = [interpolated(port, {}) for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    numbers = {int(port.split(":")[1]) for port in published}
    assert {5432, 6379, 9092, 8080} | set(WANTED.values()) <= numbers


@pytest.mark.parametrize("name", OURS)
def test_what_an_image_is_built_from_is_in_the_checkout(name: str) -> None:
    """The Dockerfile exists, and what it copies exists and is sent to the builder."""
    build = SERVICES[name]["build"]
    dockerfile = ROOT / build["context"] / build["dockerfile"]
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for word, rest in instructions(dockerfile):
        if word == "COPY" and not rest.startswith("--from"):
            source = rest.split()[0]
            assert (ROOT / source).exists()
            assert any(fnmatch(source, rule[1:]) for rule in rules if rule.startswith("!")), f"{source} is ignored"


def test_no_key_and_no_environment_reaches_an_image() -> None:
    """The builder is sent what is named and nothing else."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(rule for rule in rules if not rule.startswith("#")) == "*"
    assert not any(fnmatch("config/bigquery-credentials.json", rule[1:]) for rule in rules if rule.startswith("!"))


@pytest.mark.parametrize("name", OURS)
def test_the_command_of_a_container_exists(name: str) -> None:
    """Each runs a module that is there."""
    command = command_of(name)
    assert command[0] == "python"
    module = command[command.index("-m") + 1]
    assert find_spec(module) is not None


def test_the_containers_run_the_commands_that_were_asked_for() -> None:
    """The images run what a person would type."""
    assert " ".join(command_of("stream-processor")) == "python -m src.stream_processor --mode stream"
    assert " ".join(command_of("data-generator")) == "python -m src.data_generator --mode continuous"


def test_every_setting_reaches_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person writes into .env counts inside the container, except for what this network decides."""
    names = set(SERVICES["stream-processor"]["environment"])
    assert names <= VARIABLES
    assert VARIABLES - names <= NOT_FROM_DOTENV
    for name, value in environment_of("stream-processor").items():
        monkeypatch.setenv(name, value)
    assert enabled_stages(Settings.load()) == list(STAGES)


def test_the_addresses_inside_the_network_are_those_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """A localhost in .env, meant for commands on this machine, does not mislead a container."""
    dotenv = {"DATABASE_URL": "postgresql://localhost/x", "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}
    for name, value in environment_of("stream-processor", dotenv).items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.kafka.bootstrap_servers.split(":")[0] == "kafka"
    assert settings.http.url is not None
    urls = [
        settings.postgres.database_url.get_secret_value().split("@")[1],
        settings.redis.url.get_secret_value().split("//")[1],
        settings.bigquery.rest_endpoint.split("//")[1],
        settings.bigquery.grpc_endpoint,
        settings.http.url.get_secret_value().split("//")[1],
    ]
    assert [url.split(":")[0] for url in urls] == [
        "postgres",
        "redis",
        "bigquery-emulator",
        "bigquery-emulator",
        "receiver",
    ]
    generator = environment_of("data-generator", dotenv)
    assert generator["DATABASE_URL"] == settings.postgres.database_url.get_secret_value()


def test_empty_endpoints_in_dotenv_mean_the_real_bigquery(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator is a default and no fate."""
    dotenv = {"BIGQUERY_REST_ENDPOINT": "", "BIGQUERY_GRPC_ENDPOINT": "", "BIGQUERY_PROJECT_ID": "my-project"}
    for name, value in environment_of("stream-processor", dotenv).items():
        monkeypatch.setenv(name, value)
    bigquery = Settings.load().bigquery
    assert (bigquery.rest_endpoint, bigquery.grpc_endpoint, bigquery.project) == ("", "", "my-project")


def test_both_ends_of_the_http_sink_know_the_same_secret() -> None:
    """The receiver verifies what the processor signs."""
    given = {"EXTERNAL_API_SECRET": "whsec_bXkgb3duIHNlY3JldA=="}
    for dotenv in ({}, given):
        secrets = {environment_of(name, dotenv)["EXTERNAL_API_SECRET"] for name in ("stream-processor", "receiver")}
        assert len(secrets) == 1
        Webhook(secrets.pop())


def test_volumes_and_dependencies_are_there() -> None:
    """Named volumes are declared, mounted files exist, and who is waited for can say that it is well."""
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
        for dependency, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            other = SERVICES[dependency]
            assert "healthcheck" in other or "HEALTHCHECK" in dict(instructions(ROOT / other["build"]["dockerfile"]))


def test_every_server_keeps_its_data_in_a_volume() -> None:
    """`docker-compose down` and an update of an image lose nothing."""
    kept = {
        name: [v.split(":")[1] for v in s.get("volumes", []) if not v.startswith("./")] for name, s in SERVICES.items()
    }
    assert kept["postgres"] == ["/var/lib/postgresql"]  # the folder of the version, 18/docker, is below it
    assert kept["kafka"] == [SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"]]
    assert kept["redis"] == kept["bigquery-emulator"] == kept["receiver"] == ["/data"]
    assert kept["grafana"] == ["/var/lib/grafana"]
    assert f"--storage.tsdb.path={kept['prometheus'][0]}" in SERVICES["prometheus"]["command"]
    assert f"--storage.path={kept['alertmanager'][0]}" in SERVICES["alertmanager"]["command"]


def test_the_servers_are_set_up_as_the_pipeline_needs_them() -> None:
    """Logical decoding, a Redis that forgets nothing, and the Kafka that the tests run against."""
    postgres = SERVICES["postgres"]["command"]
    assert {"-cwal_level=logical", "-ctrack_commit_timestamp=on"} <= set(postgres)
    redis = SERVICES["redis"]["command"]
    assert redis[redis.index("--maxmemory-policy") + 1] == "noeviction"
    assert redis[redis.index("--appendonly") + 1] == "yes"
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    # a lone broker that gives up leadership while it stops can lose acknowledged commits (KAFKA-20734)
    assert SERVICES["kafka"]["environment"]["KAFKA_CONTROLLED_SHUTDOWN_ENABLE"] == "false"


def test_kafka_tells_each_client_an_address_that_it_can_reach() -> None:
    """Containers are sent to kafka, this machine to localhost."""
    environment = environment_of("kafka")
    told = dict(item.split("://") for item in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert told["CONTAINERS"] == environment_of("stream-processor")["KAFKA_BOOTSTRAP_SERVERS"]
    assert told["HOST"] == "localhost:9092"
    bound = {item.split("://")[0] for item in environment["KAFKA_LISTENERS"].split(",")}
    assert bound == {*told, environment["KAFKA_CONTROLLER_LISTENER_NAMES"]}


def test_the_processor_has_the_time_to_drain() -> None:
    """Its processes are stopped one after the other; the engine may not kill them before the supervisor would."""
    grace_s = inspect.signature(Supervisor.stop).parameters["grace_s"].default
    processes = len(STAGES) + 1  # the API
    assert int(SERVICES["stream-processor"]["stop_grace_period"].removesuffix("s")) > processes * grace_s


def test_the_logs_of_all_processes_are_the_containers_own() -> None:
    """Each process's log file is the container's output: nothing fills up, and `docker logs` shows everything."""
    linked = next(rest for word, rest in instructions(ROOT / "docker/Dockerfile.processor") if "/dev/stdout" in rest)
    names = re.search(r"for name in ([\w ]+);", linked)
    assert names is not None
    assert set(names[1].split()) == {*STAGES, "api"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.suffix[1:])
def test_an_image_runs_as_nobody_special_from_a_pinned_base(dockerfile: Path) -> None:
    """Not root, packages by hash, ends on SIGTERM, tells its output at once."""
    lines = instructions(dockerfile)
    last = dict(lines)
    assert last["USER"] == "10001:10001"
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert "PYTHONUNBUFFERED=1" in last["ENV"]
    assert {rest.split()[0] for word, rest in lines if word == "FROM"} == {"python:3.13-slim-trixie"}
    assert any("--require-hashes" in rest and "--only-binary :all:" in rest for word, rest in lines if word == "RUN")
    assert not any("apt-get" in rest for _, rest in lines)


def test_both_python_images_share_their_layers() -> None:
    """Up to the copied sources the two Dockerfiles are the same, so packages are fetched and kept once."""
    processor, generator = (instructions(ROOT / f"docker/Dockerfile.{name}") for name in ("processor", "generator"))
    shared = processor.index(("COPY", "src ./src")) + 1
    assert processor[:shared] == generator[:shared]


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_may_do_no_more_than_it_needs(name: str) -> None:
    """Read-only, without capabilities, with a process 1 that passes on signals."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("lock", sorted((ROOT / "docker").glob("requirements-*.txt")), ids=lambda path: path.stem)
def test_the_images_hold_the_packages_the_tests_run_with(lock: Path) -> None:
    """Their lock files are parts of requirements.txt: run scripts/lock.sh when this fails."""
    pins = re.compile(r"^[\w.-]+==\S+", re.MULTILINE)
    assert set(pins.findall(lock.read_text())) <= set(pins.findall((ROOT / "requirements.txt").read_text()))

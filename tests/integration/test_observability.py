"""What a running pipeline tells of itself, to real programs: Prometheus, Alertmanager, a trace collector, a log.

One pipeline for all of these tests: every stage, the API, traffic, and among it rows that carry a mark.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from psycopg import sql
from pydantic import SecretStr

from engagement_stream.api.exposition import parse
from engagement_stream.cli.metrics_table import exposed_name, is_ours
from engagement_stream.doctor.run import examine
from engagement_stream.pipeline.build import STAGES
from engagement_stream.settings import ApiSettings, BigQuerySettings, KafkaSettings, PostgresSettings, RedisSettings
from engagement_stream.stack.bigquery import BigQueryServer
from engagement_stream.stack.kafka import KafkaServer
from engagement_stream.stack.ports import free_port
from engagement_stream.stack.postgres import PostgresServer
from engagement_stream.stack.receiver import ReceiverServer
from engagement_stream.stack.valkey import ValkeyServer
from tests.fixtures.api_server import settings_with
from tests.fixtures.ledger_world import LedgerWorld
from tests.fixtures.observers import Observed, observers
from tests.fixtures.prometheus import Prometheus, running_alertmanager, running_prometheus
from tests.fixtures.stack import running, unique
from tests.fixtures.supervised import RunningPipeline, running_pipeline
from tests.fixtures.waiting import wait_until

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
MARK = "seen-by-nobody-7c1f"
"""Stands in every text of a marked row; it may be in the destinations, and nowhere else."""
MAY_BE_EMPTY = {
    'ALERTS{alertstate="firing"}': "nothing is wrong",
    "sum by (op) (engagement_events_changed_later_total)": "nobody changed a delivered event",
    "sum by (stage) (rate(engagement_reopened_total": "no stage had to go back",
    "sum by (stage) (rate(engagement_retries_total": "no attempt had to be made again",
}
"""Queries that may answer with nothing here (by how they begin), and why."""


@dataclass(frozen=True)
class World:
    """The pipeline and those who watch it."""

    pipeline: RunningPipeline
    prometheus: Prometheus | None
    observed: Observed


@pytest.fixture(scope="module")
def world(
    stack_dir: Path,
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    bigquery_server: BigQueryServer,
) -> Iterator[World]:
    """Twenty events a second, marked rows, a marked record that is no envelope."""
    name, prefix = unique("db_"), unique("t")
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template engagement_template").format(sql.Identifier(name)))
    place = Path(tempfile.mkdtemp(dir=stack_dir))
    with running(ReceiverServer(place / "receiver", free_port())) as receiver, observers() as (observed, addresses):
        ledger = LedgerWorld(
            PostgresSettings(database_url=SecretStr(postgres_server.url_of(name)), slot=unique("slot_")),
            KafkaSettings(
                bootstrap_servers=kafka_server.bootstrap_servers, events_topic=f"{prefix}-events", prefix=prefix
            ),
            RedisSettings(url=SecretStr(f"{valkey_server.redis_url}/62"), prefix=prefix),
            BigQuerySettings(
                project=bigquery_server.project,
                dataset=unique("ds_"),
                rest_endpoint=bigquery_server.rest_endpoint,
                grpc_endpoint=bigquery_server.grpc_endpoint,
            ),
            receiver,
        )
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": addresses.collector,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "LOG_LEVEL": "debug",
        }
        with running_pipeline(ledger, place, environment, rate_per_s=20.0) as pipeline:
            _put_marked_rows(ledger)
            yield World(pipeline, None, observed)
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as admin:
        admin.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = %s", (name,)
        )
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _put_marked_rows(ledger: LedgerWorld) -> None:
    ledger.sql(
        "insert into content values ('00000000-0000-4000-8000-0000000000aa', %s, %s, 'video', 10, now())", MARK, MARK
    )
    for moment in ("now()", "'infinity'"):  # the second one cannot be stored by anyone: a dead letter
        ledger.sql(
            "insert into engagement_events (content_id, event_type, event_ts, duration_ms, device, raw_payload) values "
            f"('00000000-0000-4000-8000-0000000000aa', 'play', {moment}, 1000, %s, jsonb_build_object('x', %s::text))",
            MARK,
            MARK,
        )
    producer = Producer({**ledger.settings.kafka.client_config()})
    producer.produce(ledger.settings.kafka.events_topic, f'{{"op": "c", "{MARK}": 1'.encode(), MARK.encode(), 0)
    producer.produce(ledger.settings.kafka.events_topic, b"\xff\xfe" + MARK.encode(), MARK.encode(), 1)
    assert producer.flush(20) == 0


@pytest.fixture(scope="module")
def watched(world: World, stack_dir: Path) -> Iterator[World]:
    """With Prometheus and Alertmanager."""
    place = Path(tempfile.mkdtemp(dir=stack_dir))
    with observers() as (observed, addresses):
        observed.spans = world.observed.spans
        with (
            running_alertmanager(place / "alertmanager", addresses.webhook, addresses.mail) as alertmanager,
            running_prometheus(place / "prometheus", world.pipeline.address, alertmanager) as prometheus,
        ):
            yield World(world.pipeline, prometheus, observed)


def _rows() -> dict[str, tuple[str, set[str], str]]:
    """Of docs/reference/metrics.md: name -> type, labels, who fills it."""
    found = {}
    for line in (ROOT / "docs" / "reference" / "metrics.md").read_text().splitlines():
        if line.startswith("| `"):
            name, kind, labels, _unit, filled_by, _meaning = (cell.strip() for cell in line.split("|")[1:-1])
            found[name.strip("`")] = (kind, set(re.findall(r"`(\w+)`", labels)), filled_by)
    return found


def test_the_table_of_metrics_is_what_the_processes_expose(world: World) -> None:
    """Every family with its type and labels, told by the stages it names; and none is only on paper."""
    rows = _rows()
    families = [family for family in parse(world.pipeline.api.get("/metrics/prometheus").text) if is_ours(family)]
    exposed = {exposed_name(family) for family in families}
    assert exposed <= set(rows)
    running = {*STAGES, "api"}  # other programs, such as a continuous ledger, have metrics too
    assert exposed >= {name for name, (*_, filled_by) in rows.items() if running & set(filled_by.split(", "))}
    for family in families:
        kind, labels, filled_by = rows[exposed_name(family)]
        assert family.type == kind
        for sample in family.samples:
            # What the API makes up from what it sees has no labels before it has seen any.
            assert set(sample.labels) - {"process", "le"} == labels or (filled_by, labels) == ("api", set()), sample
            process = sample.labels.get("process", "api")
            if "stage" in labels and process in STAGES:
                # What is sent back to a stage is told as a stage of its own.
                assert sample.labels["stage"].removesuffix("-retry") in filled_by.split(", ")
            elif not labels and sample.value and process in STAGES:
                assert process in filled_by.split(", ")


def _queries() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            found += [(f"{board['title']}, {panel['title']}", target["expr"]) for target in panel["targets"]]
    return found


def test_every_query_of_the_dashboards_answers_with_data(watched: World) -> None:
    """On a pipeline that runs; empty only where there is nothing to tell, for a reason that is written down."""
    assert watched.prometheus is not None
    prometheus = watched.prometheus
    queries = {where: expr.replace("$__rate_interval", "1m").replace("$stage", ".+") for where, expr in _queries()}
    assert len(queries) > 20
    left = dict(queries)

    def all_answer() -> bool:
        for where, expression in list(left.items()):
            if prometheus.query(expression) or any(expression.startswith(begin) for begin in MAY_BE_EMPTY):
                del left[where]
        return not left

    wait_until(all_answer, 60.0, f"every query answers; left: {left}")
    stages = {s["metric"]["stage"].removesuffix("-retry") for s in prometheus.query("engagement:records:rate_1m")}
    assert stages == set(STAGES)
    wait_until(lambda: not prometheus.query('ALERTS{severity="critical"}'), 30.0, "no alert on a healthy pipeline")


def test_the_dashboards_know_where_their_figures_come_from() -> None:
    """Every panel asks the data source that is provisioned, and says what it shows."""
    provisioned = (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    assert "uid: prometheus" in provisioned
    assert [path.stem for path in DASHBOARDS] == ["overview", "stages"]
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        for panel in board["panels"]:
            assert panel["title"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"prometheus"}


def test_an_alert_reaches_the_webhook_and_the_mailbox_and_ends(watched: World) -> None:
    """A stage is frozen, as a process is that hangs in the kernel; then it goes on."""
    pid = watched.pipeline.pids()["http"]
    os.kill(pid, signal.SIGSTOP)
    observed = watched.observed
    try:
        fired = wait_until(lambda: observed.fired("EngagementStageDown", "firing"), 60.0, "the webhook is told")
        assert fired[0]["labels"]["stage"] == "http"
        assert fired[0]["annotations"]["runbook_url"] == "docs/runbook.md#engagementstagedown"
        wait_until(lambda: any("EngagementStageDown" in mail for mail in observed.mails), 30.0, "a mail is sent")
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: observed.fired("EngagementStageDown", "resolved"), 60.0, "the webhook is told of the end")


def test_a_trace_joins_the_batches_of_every_stage(world: World) -> None:
    """From the source's commit to each sink, with counts and positions, below one root; nothing of the rows."""
    wanted = {"postgres.commit", "capture.commit", "enrich.batch", "redis.write", "bigquery.write", "http.write"}

    def whole() -> list[tuple[str, Span]] | None:
        by_trace: dict[bytes, list[tuple[str, Span]]] = {}
        for service, span in list(world.observed.spans):
            by_trace.setdefault(span.trace_id, []).append((service, span))
        return next((spans for spans in by_trace.values() if {span.name for _, span in spans} >= wanted), None)

    spans = wait_until(whole, 60.0, "one trace has a span of every stage")
    assert spans is not None
    (root,) = (span for _, span in spans if span.name == "postgres.commit")
    assert not root.parent_span_id
    for service, span in spans:
        if span is root:
            continue
        assert span.parent_span_id == root.span_id
        assert service == f"engagement-{span.name.split('.')[0]}"
        told = {attribute.key: attribute.value for attribute in span.attributes}
        assert told["engagement.records"].int_value >= 1
        assert re.fullmatch(r"\d+:\d+-\d+(,\d+:\d+-\d+)*", told["engagement.positions"].string_value)
        assert root.start_time_unix_nano <= span.end_time_unix_nano
    linked = [span for _, span in world.observed.spans if span.name == "bigquery.write" and span.links]
    assert linked, "a batch of a second holds commits of several traces"
    assert MARK not in str(world.observed.spans)


def _lines(pipeline: RunningPipeline, stage: str) -> list[dict[str, Any]]:
    text = (pipeline.logs / f"{stage}.log").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_log_has_a_line_for_each_change_of_state_and_none_for_a_payload(world: World) -> None:
    """Everything at debug level: rows that pass, that are refused, that cannot even be read."""
    pipeline = world.pipeline
    refused = 3  # the infinite moment, the broken envelope, the bytes that are no text
    wait_until(
        lambda: pipeline.api.get("/metrics").json()["stages"]["enrich"]["dead_letters"] >= refused, 30.0, "set aside"
    )
    for stage in STAGES:
        lines = _lines(pipeline, stage)
        assert all({"event", "level", "timestamp", "stage"} <= line.keys() and line["stage"] == stage for line in lines)
        states = [line["state"] for line in lines if line["event"] == "state changed" and "of" not in line]
        assert "running" in states
        assert all(before != after for before, after in pairwise(states)), states
        assert len(lines) < 40, "a healthy stage is quiet"
    told = "".join(path.read_text() for path in pipeline.logs.glob("*.log")) + pipeline.api.get("/health").text
    assert MARK not in told
    assert MARK not in pipeline.api.get("/metrics/prometheus").text


def test_the_doctor_finds_nothing_wrong_with_a_pipeline_that_runs(world: World, tmp_path: Path) -> None:
    """It looks at every stage, and none of them is disturbed by it."""
    settings = world.pipeline.world.settings
    port = world.pipeline.api.base_url.port
    asked = settings_with(
        postgres=settings.postgres,
        kafka=settings.kafka,
        redis=settings.redis,
        bigquery=settings.bigquery,
        http=settings.http,
        api=ApiSettings(port=port),
    )
    pids = world.pipeline.pids()
    report = examine(asked, tmp_path)
    wrong = [finding for check in report.checks for finding in check.findings if finding.severity != "note"]
    assert wrong == []
    saw = {check.name: check.saw for check in report.checks}
    assert all(f"{stage} running" in saw["stages"] for stage in STAGES)
    assert world.pipeline.healthy()
    assert world.pipeline.pids() == pids


def test_tracing_costs_nothing_when_it_is_off() -> None:
    """Not even the import."""
    code = (
        "import sys; import engagement_stream.pipeline.process, engagement_stream.sinks.runner,"
        " engagement_stream.enrich.stage, engagement_stream.capture.stage as _;"
        "from engagement_stream.observe.tracing import configure_tracing, finish_tracing, tell_batch;"
        "from engagement_stream.settings import StageSettings;"
        "configure_tracing(StageSettings(), 'enrich', 'p'); tell_batch('enrich.batch', 0); finish_tracing();"
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0

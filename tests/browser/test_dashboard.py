"""The dashboard in a real Chromium: true figures, quick to tell what is wrong, in both languages, from one origin."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser

from engagement_stream.api.server import serve
from engagement_stream.settings import ApiSettings, RedisSettings
from engagement_stream.sinks.redis import RedisSink
from engagement_stream.stack.ports import free_port
from engagement_stream.stack.valkey import ValkeyServer
from tests.fixtures.api_server import api_server, settings_with
from tests.fixtures.chromium import WatchedPage, chromium, watched_page
from tests.fixtures.engagements import record
from tests.fixtures.road import MemoryLog
from tests.fixtures.stage_process import StageProcess
from tests.fixtures.waiting import wait_until

LANDMARKS: tuple[Literal["banner", "main", "contentinfo", "status", "navigation"], ...] = (
    "banner",
    "main",
    "contentinfo",
    "status",
    "navigation",
)
NAMES = ("capture", "enrich", "redis", "bigquery", "http")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the module: a start costs a second."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def stages() -> Iterator[dict[str, StageProcess]]:
    """The status server of each stage, in processes that can be killed."""
    processes = {name: StageProcess(name, free_port()) for name in NAMES}
    try:
        for process in processes.values():
            process.start()
            process.tell("running")
            process.tell("detail", lag_records=0)
        yield processes
    finally:
        for process in processes.values():
            process.kill()


@pytest.fixture(scope="module")
def api(stages: dict[str, StageProcess], valkey_server: ValkeyServer) -> Iterator[httpx.Client]:
    """The API over them, and over a Redis with six contents in its window."""
    redis = RedisSettings(REDIS_URL=f"{valkey_server.redis_url}/63", REDIS_KEY_PREFIX="dashboard")
    at_us = time.time_ns() // 1_000
    log = MemoryLog()
    titles = ["<b>News & co</b>", "\u0645\u062c\u0644\u0629 \u0627\u0644\u0639\u0644\u0648\u0645"]
    contents = [n % 7 * n % 6 for n in range(180)]
    log.append(
        0, [record(n, content=c, commit_ts_us=at_us + n, title=titles[c % 2] + f" {c}") for n, c in enumerate(contents)]
    )
    sink = RedisSink(redis)
    sink.write(log.slices(sink.open([0], log.road())))
    sink.close()
    endpoints = ",".join(f"{name}={process.url}" for name, process in stages.items())
    settings = settings_with(redis=redis, api=ApiSettings(stage_endpoints=endpoints))

    async def run(stop: asyncio.Event, listener: socket.socket) -> None:
        await serve(settings, stop, listener)

    with api_server(run, ApiSettings.model_construct(host="127.0.0.1", port=0)) as client:
        yield client


@pytest.fixture
def dashboard(browser: Browser, api: httpx.Client, stages: dict[str, StageProcess]) -> Iterator[WatchedPage]:
    """The page in English; whatever a test did with it, it asked nobody else and complained of nothing."""
    for process in stages.values():  # each has just said something, and nothing waits: no stage looks stalled
        process.tell("running")
        process.tell("detail", lag_records=0)
    with watched_page(browser, str(api.base_url).rstrip("/")) as watched:
        yield watched
        assert watched.left_the_origin() == []
        assert watched.complaints == []


def test_the_figures_are_those_of_the_api(
    dashboard: WatchedPage, api: httpx.Client, stages: dict[str, StageProcess]
) -> None:
    """Every number on the page is one that another endpoint gives too."""
    for place, process in enumerate(stages.values(), 1):
        process.tell("detail", lag_records=1_000 * place)
        process.tell("durable", 30, [time.time_ns() // 1_000 - 40_000 * place] * 30)

    def agrees() -> bool:
        lags = {name: stage["lag_records"] for name, stage in api.get("/metrics").json()["stages"].items()}
        shown = {name: dashboard.figure(f"#node-{name} .lag") for name in NAMES[1:]}
        return lags["http"] == 5_000 and shown == {name: str(lags[name]) for name in NAMES[1:]}

    wait_until(agrees, 15, "the page to show what /metrics says")
    metrics = api.get("/metrics").json()["stages"]
    assert dashboard.text("#node-http .lag") == "5,000"
    assert all(dashboard.figure(f"#node-{name} .state") == metrics[name]["state"] for name in NAMES)
    snapshot = api.get("/live/snapshot").json()
    assert dashboard.figure("#dlq strong") == str(snapshot["dead_letters"])
    assert dashboard.page.locator("#dlq a").get_attribute("href") == "dlq"
    for stage in snapshot["stages"][2:]:
        shown_s = float(dashboard.figure(f".card.{stage['stage']} .p99 dd") or "nan")
        # All of these events came within the last seconds, so the whole life that /metrics tells of is the same.
        assert shown_s == pytest.approx(metrics[stage["stage"]]["latency"]["p99_s"])
    shown = dashboard.page.locator("#top li").evaluate_all(
        "rows => rows.map(row => [row.dataset.content, row.querySelector('.count').dataset.value])"
    )
    top = api.get("/top-content?limit=8").json()["content"]
    assert shown == [[content["content_id"], str(content["events"])] for content in top]
    assert "<b>News & co</b>" in dashboard.text("#top")  # a text, never markup
    latest = [str(event["event_id"]) for event in snapshot["latest"][:10]]
    assert dashboard.page.locator("#events li").evaluate_all("rows => rows.map(row => row.dataset.event)") == latest


def test_a_killed_sink_shows_within_five_seconds_with_what_to_do(
    dashboard: WatchedPage, stages: dict[str, StageProcess]
) -> None:
    """One sentence with its remedy, in the live region; and good again when it is back."""
    dashboard.page.wait_for_selector("#verdict.ok", timeout=15_000)
    assert dashboard.text("#verdict .headline") == "Everything flows."
    stages["bigquery"].kill()
    killed_s = time.monotonic()
    try:
        dashboard.page.wait_for_selector("#node-bigquery.unreachable", timeout=15_000)
        assert time.monotonic() - killed_s < 5
        assert dashboard.text("#verdict .headline") == "BigQuery does not answer."
        assert "Nothing is lost" in dashboard.text("#verdict .remedy")
        assert "nothing answers at 127.0.0.1" in dashboard.text("#verdict .detail")
        assert dashboard.page.locator("#verdict").get_attribute("aria-live") == "polite"
    finally:
        stages["bigquery"].start()
        stages["bigquery"].tell("running")
        stages["bigquery"].tell("detail", lag_records=0)
    dashboard.page.wait_for_selector("#verdict.ok", timeout=15_000)


def test_a_halted_stage_is_shown_with_its_own_remedy_in_either_language(
    dashboard: WatchedPage, stages: dict[str, StageProcess]
) -> None:
    """The sentence is in the page's language, what the stage itself asks for in the stage's."""
    stages["redis"].tell("halted", "the fence is gone", "run `engagement rebuild redis`")
    try:
        dashboard.page.wait_for_selector("#node-redis.halted", timeout=15_000)
        assert dashboard.text("#verdict .headline").startswith("Redis has halted")
        dashboard.page.click("#language")
        assert "Redis" in dashboard.text("#verdict .headline")
        assert dashboard.text("#node-redis .state") == "\u0645\u062a\u0648\u0642\u0651\u0641"
        assert "run `engagement rebuild redis`" in dashboard.text("#verdict .detail")
        assert dashboard.page.locator("#verdict .detail").get_attribute("dir") == "ltr"
    finally:
        stages["redis"].tell("running")
    dashboard.page.wait_for_selector("#verdict.ok", timeout=15_000)


def test_arabic_runs_from_right_to_left_and_is_remembered(dashboard: WatchedPage) -> None:
    """Direction, words, plural forms; after a reload too."""
    page = dashboard.page
    assert page.evaluate("[document.documentElement.lang, document.documentElement.dir]") == ["en", "ltr"]
    page.click("#language")
    page.reload()
    page.wait_for_selector("#node-capture .state[data-value]")
    assert page.evaluate("[document.documentElement.lang, document.documentElement.dir]") == ["ar", "rtl"]
    assert page.evaluate("getComputedStyle(document.body).direction") == "rtl"
    source, sinks = (page.locator(f"#node-{name}").bounding_box() for name in ("postgresql", "redis"))
    assert source is not None
    assert sinks is not None
    assert source["x"] > sinks["x"]  # the flow runs the way one reads
    words = page.evaluate(
        "import('/dashboard/words.js').then(m => [1, 2, 5, 11].map(n => m.word('top.events', { n })))"
    )
    assert words[0] == "\u062d\u062f\u062b \u0648\u0627\u062d\u062f"
    assert words[1] == "\u062d\u062f\u062b\u0627\u0646"
    assert len(set(words)) == 4


def test_a_browser_in_arabic_gets_arabic_at_once(browser: Browser, api: httpx.Client) -> None:
    """Nobody has to find the switch first."""
    with watched_page(browser, str(api.base_url).rstrip("/"), language="ar-EG") as watched:
        assert watched.page.evaluate("document.documentElement.dir") == "rtl"


def test_nothing_overflows_on_a_laptop_or_a_phone(dashboard: WatchedPage) -> None:
    """Both languages, both widths: no sideways scrolling, no text cut off by its box."""
    page = dashboard.page
    for _language in range(2):
        for width in (1280, 820, 390, 320):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
        page.click("#language")


def test_keyboard_and_screen_reader_find_their_way(dashboard: WatchedPage) -> None:
    """A skip link first, a visible focus, landmarks and headings, nothing moving for whoever asks for stillness."""
    page = dashboard.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "language"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.lang") == "ar"
    for role in LANDMARKS:
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("img").count() == 3  # a chart with a sentence for each sink
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.querySelector('.pipe'), '::after').animationName") == "none"


def test_an_api_that_ends_is_told_by_the_page_itself(
    browser: Browser, stages: dict[str, StageProcess], redis_settings: RedisSettings
) -> None:
    """The last figures must not be taken for present ones; the open stream does not hold the API up."""
    endpoints = ",".join(f"{name}={process.url}" for name, process in stages.items())
    settings = settings_with(redis=redis_settings, api=ApiSettings(stage_endpoints=endpoints))

    async def run(stop: asyncio.Event, listener: socket.socket) -> None:
        await serve(settings, stop, listener)

    with api_server(run, ApiSettings.model_construct(host="127.0.0.1", port=0)) as client:
        page = watched_page(browser, str(client.base_url).rstrip("/"))
        watched = page.__enter__()
        ends_s = time.monotonic()
    try:
        assert time.monotonic() - ends_s < 4  # uvicorn waits 5 s for answers that do not end
        watched.page.wait_for_selector("#verdict.lost", timeout=15_000)
        assert watched.text("#verdict .headline") == "The API does not answer."
    finally:
        page.__exit__(None, None, None)

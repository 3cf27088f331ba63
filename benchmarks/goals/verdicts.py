"""Each goal beside what was measured of it. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.goals.record import Record

NOT_YET = "not measured yet"
_FLAT_MB = 40
"""A process whose memory differs by less is told as flat."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row of the goals table; `met` is None where nothing was measured."""

    goal: str
    asked: str
    measured: str
    met: bool | None

    @property
    def word(self) -> str:
        """For people."""
        return {True: "met", False: "**not met**", None: ""}[self.met]


def verdicts(records: Mapping[str, Record]) -> list[Verdict]:
    """In the order of the goals; a part that was not measured says so."""
    found: list[Verdict] = []
    for part, judge, goals in _GOALS:
        record = records.get(part)
        if record is None:
            found += [Verdict(goal, asked, NOT_YET, None) for goal, asked in goals]
        else:
            found += [Verdict(*goal, *told) for goal, told in zip(goals, judge(record.result), strict=True)]
    return found


Told = Iterator[tuple[str, bool]]


def _latency(result: Any) -> Told:
    sinks = {one["sink"]: one for one in result["sinks"]}
    redis, bigquery, http = sinks["redis"], sinks["bigquery"], sinks["http"]
    p50_ms, p99_ms = redis["p50_s"] * 1000, redis["p99_s"] * 1000
    yield f"{p50_ms:.0f} ms, {p99_ms:.0f} ms", p50_ms <= 20 and p99_ms <= 100
    yield f"{bigquery['p99_s']:.2f} s, {http['p99_s']:.2f} s", bigquery["p99_s"] <= 3 and http["p99_s"] <= 1


def _sustained(result: Any) -> Told:
    steady = all(slope <= 0.01 * result["rate_per_s"] for slope in result["growth_per_s"].values())
    steady = steady and result["written_per_s"] >= 0.97 * result["rate_per_s"]
    word = "lag steady" if steady else "lag grows"
    yield f"{result['written_per_s']:,.0f} events/s, {word}", steady and result["rate_per_s"] >= 20_000
    largest = max(result["rss_mb"], key=result["rss_mb"].__getitem__)
    memory = result["rss_mb"][largest]
    yield f"{memory:.0f} MB ({largest}, the largest)", memory <= 200


def _compare(result: Any) -> Told:
    capture, enrich = result["PostgreSQL to Kafka"], result["Raw topic to enriched topic"]
    debezium, limit = _rate(capture[0]) / _rate(capture[1]), _rate(capture[0]) / _rate(capture[2])
    yield f"{debezium:.1f}x, {limit:.2f}x", debezium >= 3 and limit >= 0.55
    quix = _rate(enrich[0]) / _rate(enrich[1])
    yield f"{quix:.1f}x", quix >= 2


def _rate(runs: Any) -> float:
    return float(median(run["records_per_s"] for run in runs))


def _exactly_once(result: Any) -> Told:
    cost = 1 - _rate(result["whole.on"]) / _rate(result["whole.off"])
    yield f"{cost:.0%} (capture, enrich and Redis at once)", cost <= 0.10


def _growth(result: Any) -> Told:
    steps, contents = result["events"]["steps"], result["contents"]
    few, most = middle_step(contents[0]["steps"]), middle_step(contents[-1]["steps"])
    grown, many = _total(steps[-1]) / _total(steps[0]), _total(most) / _total(few)
    memory, with_contents = _grown_mb(steps[0], steps[-1]), _grown_mb(few, most)
    told = f"CPU {grown:.2f}x, at most {memory:+.0f} MB ({steps[0]['events']:,} to {steps[-1]['events']:,} events); "
    told += f"{many:.2f}x, at most {with_contents:+.0f} MB "
    told += f"({contents[0]['contents']:,} to {contents[-1]['contents']:,} contents)"
    yield told, grown <= 1.1 and many <= 1.25 and max(memory, with_contents) <= _FLAT_MB


def _grown_mb(first: Any, last: Any) -> float:
    return float(max(last["rss_mb"][name] - first["rss_mb"][name] for name in first["rss_mb"]))


def middle_step(steps: Any) -> dict[str, Any]:
    """Value by value the median of the steps of several runs."""

    def of(key: str) -> dict[str, float]:
        return {name: median(step[key][name] for step in steps) for name in steps[0][key]}

    reference = median(step["reference_us"] for step in steps)
    return {"cpu_us_per_event": of("cpu_us_per_event"), "rss_mb": of("rss_mb"), "reference_us": reference}


def _total(step: Any) -> float:
    """CPU of an event in all stages, in reference loops of that minute."""
    return float(sum(step["cpu_us_per_event"].values()) / step["reference_us"])


def _idle(result: Any) -> Told:
    yield f"{result['ours']:.1%} (servers {sum(result['servers'].values()):.1%} besides)", result["ours"] <= 0.05


def _serving(result: Any) -> Told:
    p99s = [
        one["answers_ms"][min(int(len(one["answers_ms"]) * 0.99), len(one["answers_ms"]) - 1)]
        for one in result["paths"]
    ]
    told = ", ".join(f"{one['path']} {p99:.1f} ms" for one, p99 in zip(result["paths"], p99s, strict=True))
    yield told, max(p99s) <= 10


_GOALS: list[tuple[str, Callable[[Any], Told], list[tuple[str, str]]]] = [
    (
        "latency",
        _latency,
        [
            ("commit to visible in Redis, 1,000 events/s: p50, p99", "20 ms, 100 ms"),
            ("to committed in BigQuery, acknowledged by the receiver: p99", "3 s, 1 s"),
        ],
    ),
    (
        "sustained",
        _sustained,
        [
            ("whole chain sustained, three sinks, exactly once", "20,000 events/s"),
            ("memory of a stage's process under that load", "200 MB"),
        ],
    ),
    (
        "compare",
        _compare,
        [
            ("capture against Debezium, and against pg_recvlogical to nowhere", "3x, 0.55x"),
            ("enrich against Quix Streams, exactly once", "2x"),
        ],
    ),
    ("exactly-once", _exactly_once, [("what exactly-once costs in throughput", "10 %")]),
    ("growth", _growth, [("CPU per event and memory, with more events and contents", "flat")]),
    ("idle", _idle, [("all our processes together, idle", "5 % of one core")]),
    ("serving", _serving, [("top-content and stats under the stream's load: p99", "10 ms")]),
]

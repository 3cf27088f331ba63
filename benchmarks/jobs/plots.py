"""The page's plots: `plots.py DIRECTORY` reads the kept JSON and writes SVG beside it. Runs in its own environment."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "engagement", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})

import matplotlib.pyplot as plt  # noqa: E402 - after the choice of the back end
from matplotlib.axes import Axes  # noqa: E402 - as above
from matplotlib.figure import Figure  # noqa: E402 - as above

SINKS = {"redis": "Redis", "bigquery": "BigQuery", "http": "REST"}
HOME = Path(sys.argv[1])


def kept(part: str) -> Any:
    file = HOME / f"{part}.json"
    return json.loads(file.read_text())["result"] if file.exists() else None


def save(figure: Figure, name: str) -> None:
    figure.tight_layout()
    figure.savefig(HOME / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure, ax = plt.subplots(figsize=(7, 3.6))
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    return figure, ax


if found := kept("latency"):
    figure, ax = axes("commit to durable, ms", "% of events below")
    for one in found["sinks"]:
        if parts := one.get("parts_s"):
            ax.plot([s * 1000 for s in parts.values()], [float(p) for p in parts], marker=".", label=one["sink"])
    ax.set_xscale("log")
    ax.set_title(f"Latency per sink at {found['rate']:,.0f} events/s")
    ax.legend()
    save(figure, "latency")

if found := kept("ladder"):
    figure, ax = axes("events/s written into PostgreSQL", "median lag, ms of traffic")
    for sink, label in SINKS.items():
        x, y = [], []
        for step in found:
            lags = sorted(sample["lag"][sink] for sample in step["samples"][len(step["samples"]) // 3 :])
            x.append(step["written_per_s"])
            y.append(lags[len(lags) // 2] / step["written_per_s"] * 1000)
        ax.plot(x, y, marker="o", label=label)
    ax.set_yscale("log")
    ax.set_title("Throughput against lag")
    ax.legend()
    save(figure, "ladder")

if found := kept("sustained"):
    figure, ax = axes("seconds since the traffic began", "events behind PostgreSQL")
    for sink, label in SINKS.items():
        ax.plot([s["at_s"] for s in found["samples"]], [s["lag"][sink] for s in found["samples"]], label=label)
    ax.set_ylim(bottom=0)
    ax.set_title(f"Lag over time at {found['rate_per_s']:,.0f} events/s")
    ax.legend()
    save(figure, "sustained")

if found := kept("growth"):
    figure, ax = axes("millions of events", "CPU us per event")
    for stage in found["events"]["steps"][0]["cpu_us_per_event"]:
        steps = found["events"]["steps"]
        ax.plot([s["events"] / 1e6 for s in steps], [s["cpu_us_per_event"][stage] for s in steps], label=stage)
    ax.set_ylim(bottom=0)
    ax.set_title("Cost of growth")
    ax.legend()
    save(figure, "growth")

"""Draws throughput and latency over connections: `plot.py RESULTS.json PLOT.svg`, with matplotlib."""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes

ENGINES = {"postgres": "PostgreSQL", "mariadb": "MariaDB", "sqlite": "SQLite"}
OPERATIONS = {"get": "GET", "put": "PUT, durable"}
COLOURS = {"kvd": "#0b6e4f", "pgbench": "#1f5fbf", "Poem + SeaORM": "#c8553d", "FastAPI + Django": "#7a4fa3"}


def main(results: Path, plot: Path) -> None:
    rounds = [round for round in json.loads(results.read_text())["rounds"] if place(round)]
    engines = [engine for engine in ENGINES if any(place(round)[0] == engine for round in rounds)]
    # Text stays text, and the same results give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "kvd", "font.family": "sans-serif"})
    columns = 2 * len(OPERATIONS)
    figure, axes = pyplot.subplots(
        len(engines), columns, figsize=(4.5 * columns, 3.6 * len(engines)), squeeze=False, layout="constrained"
    )
    for row, engine in zip(axes, engines, strict=True):
        for number, (operation, title) in enumerate(OPERATIONS.items()):
            rate, latency = row[number], row[len(OPERATIONS) + number]
            rate.set_title(f"{ENGINES[engine]}, {title}: a second")
            latency.set_title(f"{ENGINES[engine]}, {title}: ms, p50 and p99 (dashed)")
            draw(rate, latency, [round for round in rounds if place(round)[:2] == (engine, operation)])
    for axes_ in axes[-1]:
        axes_.set_xlabel("connections")
    figure.savefig(plot, facecolor="white", metadata={"Date": None})


def place(round: dict[str, Any]) -> tuple[str, str, int] | tuple[()]:
    """Engine, operation and connections of a work on items of the usual size."""
    match round["work"].split("-"):
        case [operation, connections] if operation in OPERATIONS:
            return "postgres", operation, int(connections)
        case [engine, operation, connections] if engine in ENGINES:
            return engine, operation, int(connections)
    return ()


def draw(rate: Axes, latency: Axes, rounds: list[dict[str, Any]]) -> None:
    for subject, colour in COLOURS.items():
        samples: dict[int, list[dict[str, float]]] = {}
        for round in rounds:
            if round["subject"] == subject:
                samples.setdefault(place(round)[2], []).append(round["sample"])
        connections = sorted(samples)

        def medians(field: str, samples: dict[int, list[dict[str, float]]] = samples) -> list[float]:
            return [statistics.median(sample[field] for sample in samples[count]) for count in sorted(samples)]

        if len(connections) > 1:
            rate.plot(connections, medians("rate"), color=colour, marker="o", label=subject)
            latency.plot(connections, medians("p50"), color=colour, marker="o")
            latency.plot(connections, medians("p99"), color=colour, marker="o", linestyle="--")
    connections = sorted({place(round)[2] for round in rounds})
    rate.legend(frameon=False)
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_formatter("{x:,.0f}")
    latency.set_yscale("log")
    latency.yaxis.set_major_formatter("{x:g}")
    for axes in (rate, latency):
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
        axes.set_xticks(connections, [str(count) for count in connections])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

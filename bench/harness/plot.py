"""Draws throughput and latency over connections: `plot.py RESULTS.json PLOT.svg`, with matplotlib."""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes

OPERATIONS = {"get": "GET", "put": "PUT, durable"}
COLOURS = ("#0b6e4f", "#1f5fbf", "#c8553d", "#7a4fa3")


def main(results: Path, plot: Path) -> None:
    rounds = json.loads(results.read_text())["rounds"]
    works = [round["work"].split("-") for round in rounds]
    operations = {name: title for name, title in OPERATIONS.items() if any(work[0] == name for work in works)}
    # Text stays text, and the same results give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "kvd", "font.family": "sans-serif"})
    figure, axes = pyplot.subplots(
        2, len(operations), figsize=(5.5 * len(operations), 7.5), squeeze=False, sharex=True, layout="constrained"
    )
    for column, (operation, title) in enumerate(operations.items()):
        rate, latency = axes[0][column], axes[1][column]
        rate.set_title(title)
        rate.set_ylabel("requests, transactions a second")
        latency.set_ylabel("latency in ms: p50, p99 dashed")
        latency.set_xlabel("connections")
        draw(rate, latency, [round for round in rounds if round["work"].startswith(f"{operation}-")])
    figure.savefig(plot, facecolor="white", metadata={"Date": None})


def draw(rate: Axes, latency: Axes, rounds: list[dict[str, Any]]) -> None:
    connections = sorted({int(round["work"].split("-")[1]) for round in rounds})
    subjects = dict.fromkeys(round["subject"] for round in rounds)
    for subject, colour in zip(subjects, COLOURS, strict=False):

        def medians(field: str, subject: str = subject) -> list[float]:
            return [
                statistics.median(
                    round["sample"][field]
                    for round in rounds
                    if round["subject"] == subject and round["work"].endswith(f"-{count}")
                )
                for count in connections
            ]

        rate.plot(connections, medians("rate"), color=colour, marker="o", label=subject)
        latency.plot(connections, medians("p50"), color=colour, marker="o")
        latency.plot(connections, medians("p99"), color=colour, marker="o", linestyle="--")
    rate.legend(frameon=False)
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_formatter("{x:,.0f}")
    latency.set_yscale("log")
    latency.yaxis.set_major_formatter("{x:g}")
    for axes in (rate, latency):
        axes.set_xscale("log", base=4)
        axes.minorticks_off()
        axes.set_xticks(connections, [str(count) for count in connections])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

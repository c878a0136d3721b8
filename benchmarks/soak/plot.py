"""Draws a soak: latencies, rates, memory and descriptors, with the kills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by those who see few, too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


def draw(document: dict[str, Any], path: Path) -> None:
    """Draw what `report.document` returned, as SVG."""
    figure = Figure(figsize=(7.6, 8.2), layout="constrained", facecolor="#ffffff")
    latency, rates, memory, descriptors = figure.subplots(4, 1, sharex=True)
    seconds = document["seconds"]
    at = [one["second"] for one in seconds]
    for number, name in enumerate(("p50", "p99")):
        latency.plot(at, [one[name] for one in seconds], label=name, lw=0.9,
                     color=COLOURS[number])  # fmt: skip
    latency.set_yscale("log")
    latency.set_ylabel("hand-out, ms")
    rates.plot(at, [one["tokens"] for one in seconds], color=COLOURS[0], lw=0.9)
    rates.set_ylabel("tokens/s")
    for axes, name, scale in ((memory, "rss", 1e6), (descriptors, "descriptors", 1)):
        for number in range(document["plan"]["replicas"]):
            own = [one for one in document["samples"] if one["replica"] == number]
            # A gap where it was started anew.
            points: list[tuple[float, float]] = []
            for before, one in zip([None, *own], own, strict=False):
                if before is not None and before["life"] != one["life"]:
                    points.append((one["at"], float("nan")))
                points.append((one["at"], one[name] / scale))
            axes.plot(*zip(*points, strict=True), label=f"replica {number}", lw=1.1,
                      color=COLOURS[number % len(COLOURS)])  # fmt: skip
    memory.set_ylabel("resident, MB")
    descriptors.set_ylabel("descriptors")
    descriptors.set_xlabel("seconds; a line where a replica was killed")
    for axes in (latency, rates, memory, descriptors):
        axes.grid(visible=True, color="#d0d7de", linewidth=0.5)
        axes.margins(x=0.01, y=0.12)
        for kill in document["kills"]:
            axes.axvline(kill["at"], color="#8c959f", lw=0.7, ls="--")
    for axes in (rates, memory, descriptors):
        axes.set_ylim(bottom=0)
    for axes, place in ((latency, "upper right"), (memory, "lower right")):
        axes.legend(loc=place, frameon=False, ncols=3, fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})
    # matplotlib ends lines with blanks.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(map(str.rstrip, lines)) + "\n", encoding="utf-8")

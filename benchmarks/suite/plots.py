"""Pictures of a run: how far each ratio got, and lines over sizes.

SVG with a background of its own, so that it reads on light pages and on dark ones.
Needs matplotlib: `pip install grantledger[bench]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.suite.report import times, wanted
from benchmarks.suite.shape import Chart, Measured, Row

MOST_BARS = 24
"""More are a table, not a picture."""

# Okabe and Ito's colours: told apart by those who see few, too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
_PAPER, _INK, _FAINT = "#ffffff", "#1f2328", "#8c959f"
_SETTINGS: Any = {
    "svg.hashsalt": "grantledger",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "figure.facecolor": _PAPER,
    "axes.facecolor": _PAPER,
}


def draw(folder: Path, name: str, measured: Measured) -> list[Path]:
    """Draw a run into the folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    with mpl.rc_context(_SETTINGS):
        aimed = [one for one in measured.rows if one.of_target is not None]
        if 0 < len(aimed) <= MOST_BARS:
            made.append(_saved(_reached(name, aimed), folder / f"{name}.svg"))
        made += [
            _saved(_lines(chart), folder / f"{chart.name}.svg")
            for chart in measured.charts
        ]
    return made


def _reached(name: str, rows: Sequence[Row]) -> Figure:
    """Draw a bar for each row; the line at 1 is its target."""
    figure = Figure(figsize=(7.2, 0.7 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    far = [one.of_target or 0.0 for one in rows]
    axes.barh(
        places,
        far,
        color=[COLOURS[0] if one.reached else COLOURS[1] for one in rows],
        height=0.62,
    )
    axes.axvline(1, color=_INK, linewidth=1, linestyle="--")
    axes.set_yticks(places, [f"{one.what} / {one.compared_with}" for one in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.15, *far) * 1.3)
    for place, one in zip(places, rows, strict=True):
        said = f" {times(one.ratio)} (target {wanted(one)})"
        # Behind the line, where the bar ends before it.
        axes.text(max(far[place], 1), place, said, va="center", fontsize=8)
    axes.set_xlabel("of the target: right of the line it is reached")
    axes.set_title(name, loc="left")
    return figure


def _lines(chart: Chart) -> Figure:
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, (label, points) in enumerate(chart.lines.items()):
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            label=label,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKS[number % len(MARKS)],
            linestyle="-" if number < len(COLOURS) else ":",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(visible=True, which="major", color="#d0d7de", linewidth=0.6)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.set_title(chart.title, loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, format="svg", metadata={"Date": None})
    # matplotlib ends lines with blanks.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(map(str.rstrip, lines)) + "\n", encoding="utf-8")
    return path

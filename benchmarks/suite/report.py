"""Rows as a table for people, and everything as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.suite.shape import Benchmark, Measured, Row, Size

WIDTH = 140
"""Of a table that goes to no terminal, such as into a file."""


def paper() -> Console:
    """Return what tables are printed on."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def table(benchmark: Benchmark, measured: Measured) -> Table:
    """Return the rows of a run."""
    made = Table(title=benchmark.name, title_justify="left", expand=False)
    for head in ("what", "compared with"):
        made.add_column(head, overflow="fold")
    for head in ("ratio", "lowest", "highest", "target"):
        made.add_column(head, justify="right", no_wrap=True)
    made.add_column("reached", no_wrap=True)
    made.add_column("figures", overflow="fold")
    for one in measured.rows:
        made.add_row(
            one.what,
            one.compared_with,
            times(one.ratio),
            times(one.lowest),
            times(one.highest),
            wanted(one),
            {True: "yes", False: "no", None: ""}[one.reached],
            one.note,
        )
    return made


def times(ratio: float) -> str:
    """Return a ratio as it is read: three figures."""
    return f"{ratio:.3g} x" if ratio < 100 else f"{ratio:,.0f} x"  # noqa: PLR2004 - where three figures end


def wanted(one: Row) -> str:
    """Return a row's target in words."""
    if one.target is None:
        return ""
    return f"{'<=' if one.at_most else '>='} {one.target:g} x"


def document(
    benchmark: Benchmark, size: Size, measured: Measured, machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the JSON file of a run holds."""
    return {
        "benchmark": benchmark.name,
        "about": benchmark.about,
        "size": size,
        "sizes": dict(benchmark.sizes(size)),
        "machine": dict(machine),
        "rows": [asdict(one) | {"reached": one.reached} for one in measured.rows],
        "charts": [asdict(one) for one in measured.charts],
        "figures": measured.figures,
    }


def write(folder: Path, said: Mapping[str, Any]) -> Path:
    """Write a run's document into the folder; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{said['benchmark']}.json"
    path.write_text(json.dumps(said, indent=2, default=str) + "\n", encoding="utf-8")
    return path

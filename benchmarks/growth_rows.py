"""What `benchmarks.growth` has seen, as rows and charts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.growth_sides import Taken
from benchmarks.suite.shape import Chart, Measured, Row, beside, row

FLAT, OF_SELECT, MEMORY = 1.5, 5.0, 1.3

Times = dict[str, list[Taken]]
"""By the name of a ledger, or the length of a history: its rounds."""


@dataclass(slots=True)
class Seen:
    """Everything that was seen on one store.

    Attributes:
        sizes: of each ledger, in order.
        took: by operation, a list of rounds for each ledger.
        long: by operation, for each length of one grant's history.
        memory: by ledger, what processes of their own said.
    """

    store: str
    names: list[str] = field(default_factory=list[str])
    sizes: list[Mapping[str, float]] = field(default_factory=list[Mapping[str, float]])
    took: dict[str, Times] = field(default_factory=dict[str, Times])
    long: dict[str, Times] = field(default_factory=dict[str, Times])
    memory: dict[str, list[dict[str, float]]] = field(
        default_factory=dict[str, list[dict[str, float]]]
    )


def rows(found: Seen) -> list[Row]:
    """Return what a run on one store says."""
    made_rows: list[Row] = []
    for operation, took in found.took.items():
        if not operation.startswith("SELECT"):
            made_rows += _flat(found.store, operation, took)
    for operation, select in (
        ("as-of, by position", "SELECT of a grant's events"),
        ("token found", "SELECT of a token"),
        ("trace", "SELECT of a grant's leaves"),
    ):
        large, ours = list(found.took[operation].items())[-1]
        theirs = found.took[select][large]
        made_rows.append(
            row(
                f"{found.store}: {operation}, p99, {large}",
                select,
                beside([o.p99 for o in ours], [t.p99 for t in theirs]),
                OF_SELECT,
                at_most=True,
                note=_milliseconds([o.p99 for o in ours], [t.p99 for t in theirs]),
            )
        )
    for operation, took in found.long.items():
        made_rows += _flat(found.store, f"{operation}, one grant", took)
    return made_rows + _of_processes(found, found.names[0], found.names[-1])


def _flat(store: str, operation: str, took: Times) -> list[Row]:
    """Return p50 and p99 on the largest beside those on the smallest."""
    made_rows: list[Row] = []
    names = list(took)
    small, large = names[0], names[-1]
    for which in ("p50", "p99"):
        ours = [getattr(one, which) for one in took[large]]
        theirs = [getattr(one, which) for one in took[small]]
        made_rows.append(
            row(
                f"{store}: {operation}, {which}, {large}",
                small,
                beside(ours, theirs),
                FLAT,
                at_most=True,
                note=_milliseconds(ours, theirs),
            )
        )
    return made_rows


def _of_processes(found: Seen, small: str, large: str) -> list[Row]:
    made_rows: list[Row] = []
    per = [size["bytes_an_event"] for size in found.sizes]
    made_rows.append(
        row(
            f"{found.store}: bytes an event, {large}",
            small,
            [per[-1] / per[0]],
            note=f"{per[-1]:,.0f} against {per[0]:,.0f} bytes",
        )
    )
    for what, name, target in (
        ("bytes", "resident memory", MEMORY),
        ("start_seconds", "start to first token", FLAT),
    ):
        if found.memory:
            ours = [one[what] for one in found.memory[large]]
            theirs = [one[what] for one in found.memory[small]]
            middle = statistics.median(ours), statistics.median(theirs)
            note = (
                f"{middle[0] / 1e6:.0f} against {middle[1] / 1e6:.0f} MB"
                if what == "bytes"
                else f"{middle[0]:.2f} against {middle[1]:.2f} s"
            )
            made_rows.append(
                row(
                    f"{found.store}: {name}, {large}",
                    small,
                    beside(ours, theirs),
                    target,
                    at_most=True,
                    note=note,
                )
            )
    return made_rows


def _milliseconds(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"{statistics.median(ours):.3g} against {statistics.median(theirs):.3g} ms"


def charts(found: Seen) -> list[Chart]:
    """Return p99 over the number of events, and over one grant's own."""
    store = found.store.lower()
    made_charts = [
        Chart(
            f"growth-{store}",
            f"{found.store}: p99 of one call, by what the ledger holds",
            "events in the ledger",
            "milliseconds",
            {
                operation: [
                    (size["events"], statistics.median(t.p99 for t in took[name]))
                    for name, size in zip(found.names, found.sizes, strict=True)
                    if name in took
                ]
                for operation, took in found.took.items()
            },
        )
    ]
    if found.long:
        made_charts.append(
            Chart(
                f"growth-grant-{store}",
                f"{found.store}: p99 of one call, by the grant's own history",
                "events of the grant",
                "milliseconds",
                {
                    operation: [
                        (
                            float(name.split()[0].replace(",", "")),
                            statistics.median(t.p99 for t in some),
                        )
                        for name, some in took.items()
                    ]
                    for operation, took in found.long.items()
                },
            )
        )
    return made_charts


def measured(stores: Sequence[Seen]) -> Measured:
    """Return everything that was seen."""
    figures: list[dict[str, Any]] = [asdict(found) for found in stores]
    return Measured(
        [one for found in stores for one in rows(found)],
        figures,
        [one for found in stores for one in charts(found)],
    )
